"""What the user says about the machines: the resource spec or `TF_CONFIG`, read into nodes."""
