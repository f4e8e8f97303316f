"""Show who is on the phone."""

from server import ami_url

from pyami_sync import actions, connect

with ami_url() as url, connect(url) as ami:
    channels = ami.send(actions.CoreShowChannels()).events
    for channel in channels:
        print(f"{channel.channel:40} {channel.channel_state_desc:8} {channel.duration}")
    print(f"{len(channels)} channels")
