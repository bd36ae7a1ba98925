"""The commands: each shows what a module of `autodist.workbench.commands` returns."""
