"""The Paceline operator: TrainJobs become pods, restarts and a truthful status."""
