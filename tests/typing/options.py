"""Options of every kind, and planted mistakes: a line that ends in ``# wrong`` has one, no other has. Never run."""

from __future__ import annotations

from pyami_sync import TLS, AMIClient, ClusterPool, Limits, ReconnectPolicy, connect


def right() -> None:
    connect("ami://admin:secret@pbx", timeout=5, keepalive=None, event_mask=["call"], tls=True, reconnect=False)
    connect(host="pbx", port=5038, username="admin", secret="s", when_down="fail", callback_threads=4)
    connect("redis://broker/0", node="paris", user="shop", start="first")
    AMIClient("pbx", 5039, username="admin", secret="s", tls=TLS(ca_file="ca.pem"), limits=Limits(), name="crm")
    AMIClient.from_url("ami://pbx", connect_timeout=2.5, auth="plain", encoding="latin-1", wait_fully_booted=True)
    pool = ClusterPool(
        ["ami://a", "ami://b"], health_interval=None, name="pool", reconnect=ReconnectPolicy(), secret="s"
    )
    pool.add_node("paris", "ami://paris", tags=["eu"], wait=False, timeout=None, system_name="par", secret_env="S")
    ami = connect()
    ami.originate("PJSIP/1", Context="default", Exten="100", Priority=1, Variable={"A": "1"}, ring=20, wait=True)
    ami.originate("PJSIP/1", Application="Wait", Data="1", timeout=None)


def wrong() -> None:
    connect(timeout="5")  # wrong
    connect(timout=5)  # wrong
    connect(auth="md4")  # wrong
    AMIClient("pbx", keepalive="never")  # wrong
    AMIClient("pbx", usrname="admin")  # wrong
    AMIClient.from_url("ami://pbx", reconnect=3)  # wrong
    ClusterPool({}, timeuot=5)  # wrong
    pool = ClusterPool({}, when_down="perhaps")  # wrong
    pool.add_node("paris", "ami://paris", tag="eu")  # wrong
    ami = connect()
    ami.originate("PJSIP/1", wiat=True)  # wrong
    ami.originate("PJSIP/1", Contxt="default")  # wrong
    ami.originate("PJSIP/1", ring="long")  # wrong
