"""Real Asterisk servers for the contract tests: installed, configured, run and populated from here."""
