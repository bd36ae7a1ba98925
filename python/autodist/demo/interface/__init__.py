"""What the demo's user gives and sees: options, terminal, pictures, output, errors."""
