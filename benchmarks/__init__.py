"""What measures the speed of pyami_sync, beside other libraries and beside what Python could do at most.

``python -m benchmarks`` runs it all and writes the table and the plot of ``docs/benchmarks``; ``--quick`` takes a
minute or two and is for looking while changing something. ``python -m benchmarks.soak`` runs ten million events
through one session. How the figures come about:

* Each figure is taken in a process of its own (:mod:`benchmarks.measure`), from a server in another process that
  sends recorded traffic of a real Asterisk 22, rendered beforehand (:mod:`benchmarks.sender`). All clients take
  turns within a round, so that a busy machine hits all of them alike, and medians over the rounds are compared.
* The other libraries live in an environment that is made outside the checkout (:mod:`benchmarks.environment`);
  pyami_sync is measured by the same interpreter. What can't be installed is left out and named.
* Each library is used as its documentation shows, with its defaults (:mod:`benchmarks.clients`).
"""
