"""The rules for kinds: one module a family of ops, gathered in `rule_table`."""
