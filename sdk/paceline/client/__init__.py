"""How the command line and `paceline.trainer` speak to an API server about TrainJobs.

Needs `paceline[cli]`. Every error is a `ClientError`: a sentence for the user, with its way out.
"""
