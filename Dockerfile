# Build, train, look at the curves, evaluate:
#   docker build -t dqn-breakout .
#   docker run --init --rm -it --name breakout -v runs:/runs dqn-breakout
#   docker stop --time 120 breakout       (saves first; the same `docker run` goes on)
#   docker run --rm -it -p 6006:6006 -v runs:/runs dqn-breakout \
#       -m tensorboard.main --logdir /runs --bind_all
#   docker run --rm -it -v runs:/runs dqn-breakout \
#       eval.py --checkpoint_dir=/runs/breakout --output=/runs/breakout/eval.json
# A folder of yours in the volume's place (-v "$PWD/runs:/runs") must be writable for the container:
# add --user "$(id -u):$(id -g)".
FROM python:3.11-slim

ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1

WORKDIR /dqn_breakout

# Before the code, so that a change of code leaves this layer as it is. The wheels bring all they
# need: ROMs, ffmpeg, OpenCV without a display.
COPY requirements.lock ./
RUN pip install --no-cache-dir --no-deps --require-hashes -r requirements.lock

COPY . ./

# The home folder is where Matplotlib keeps its font cache; /runs takes its owner into a new volume.
RUN useradd --create-home dqn && mkdir /runs && chown dqn:dqn /runs
USER dqn
VOLUME /runs
EXPOSE 6006

ENTRYPOINT ["python"]
CMD ["train.py", "--gin_file=breakout.gin", "--run_dir=/runs/breakout"]
