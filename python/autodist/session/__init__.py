"""The distributed session: runs, feeds and fetches of the original graph in the transformed one."""
