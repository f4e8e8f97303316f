"""gunicorn -c gunicorn.conf.py 'app:create_app()': four processes, a thread for each open page."""

import os

bind = os.environ.get("WALLBOARD_BIND", "127.0.0.1:8000")
workers = 4
worker_class = "gthread"
threads = 256  # a page that is open holds one; idle ones cost little
preload_app = True
timeout = 30
graceful_timeout = 2  # streams never end by themselves
control_socket_disable = True


def post_worker_init(worker):
    """Have the picture ready before the first page: each worker listens in a session of its own."""
    worker.wsgi.extensions["wallboard"].start()


def worker_exit(server, worker):
    """Log off."""
    from app import close

    close(worker.wsgi)
