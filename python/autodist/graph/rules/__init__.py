"""The rules that make ops of the transformed graph for ops of the original one."""
