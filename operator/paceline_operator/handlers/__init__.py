"""TrainJobs as kopf receives them. A few lines: whatever decides is in planning/."""
