"""Saves that take the variables of several tasks at one instant."""
