"""`autodist demo`: trains, saves, exports, restores and fine-tunes, and checks every step."""
