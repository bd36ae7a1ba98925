"""`autodist demo`: trains, saves, exports, restores and fine-tunes on real data, and checks every step."""
