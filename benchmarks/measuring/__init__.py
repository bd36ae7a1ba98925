"""How each benchmark measures: turns, time, memory, the machine, and checks of the files."""
