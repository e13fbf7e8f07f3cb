"""The command line: `paceline` and, as a kubectl plugin, `kubectl paceline`.

Deciding and rendering are pure (`tables`, `description`, `progress`, `verdict`, `logtail`, `manifests`); `cluster`
speaks to the API server over `connection`; `show`, `follow` and `change` are the commands.
"""
