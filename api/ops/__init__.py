"""What the ops page shows and does: one picture of the installation, a table of jobs, one job's story, and the means to act."""
