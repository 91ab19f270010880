"""The command line's commands, thin: they read arguments, call one function, and show what it returns."""
