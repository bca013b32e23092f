"""From the emulator to a TF-Agents `time_step`: games, rules, frame stack."""
