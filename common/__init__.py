"""What every package uses: errors, files, settings in YAML, processes, the command line."""
