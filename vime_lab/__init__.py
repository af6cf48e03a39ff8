"""The laboratory: experiments, statistics, figures and the command line."""
