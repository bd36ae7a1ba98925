"""Saves of variables on servers that have not loaded autodist's ops."""
