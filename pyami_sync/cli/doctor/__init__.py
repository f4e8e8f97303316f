"""Why it does not work: checks from the name of the server to the clock, each with a verdict and a remedy."""
