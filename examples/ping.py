"""Is the server there, and how far away?"""

from server import ami_url

from pyami_sync import connect

with ami_url() as url, connect(url) as ami:
    print(f"Asterisk {ami.server_version} answers in {ami.ping() * 1000:.1f} ms")
