"""What the user of the demo chooses and sees: options, terminal, pictures, output directory, errors."""
