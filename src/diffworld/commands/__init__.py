"""The commands: one file each, with its options as a dataclass and a `main(arguments) -> exit code`.

Only what parsing needs is imported at the top of these files, so that `--help` and mistakes answer at once.
"""
