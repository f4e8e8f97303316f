"""The simulator's answers to actions about the database (AstDB)."""

from __future__ import annotations

from .registry import Call, Item, handler

__all__: list[str] = []


@handler("DBPut", "system", about="store a value")
def db_put(call: Call) -> bytes:
    family, key = call.get("Family"), call.get("Key")
    if not family:
        return call.error("No family specified")
    if not key:
        return call.error("No key specified")
    call.simulator.pbx.database[family, key] = call.get("Val")
    return call.success("Updated database successfully")


@handler("DBGet", "system,reporting", about="read a value")
def db_get(call: Call) -> bytes:
    family, key = call.get("Family"), call.get("Key")
    if not family:
        return call.error("No family specified.")
    if not key:
        return call.error("No key specified.")
    value = call.simulator.pbx.database.get((family, key))
    if value is None:
        return call.error("Database entry not found")
    item: Item = ("DBGetResponse", [("Family", family), ("Key", key), ("Val", value)])
    return call.listing("Result will follow", [item], "DBGetComplete", id_last=True, uniform=False)


@handler("DBGetTree", "system,reporting", about="read all values under a key", since=16)
def db_get_tree(call: Call) -> bytes:
    family, key = call.get("Family"), call.get("Key")
    prefix = f"/{family}/{key}" if family else "/"
    items: list[Item] = [
        ("DBGetTreeResponse", [("Key", f"/{each}/{name}"), ("Val", value)])
        for (each, name), value in sorted(call.simulator.pbx.database.items())
        if f"/{each}/{name}/".startswith(prefix.rstrip("/") + "/")
    ]
    start = call.start("Result will follow")
    frames = [call.item(name, headers, id_last=True) for name, headers in items]
    # 16 counts one, whatever it sent.
    count = len(items) if call.simulator.major >= 18 else 1
    return start + b"".join(frames) + call.complete("DBGetTreeComplete", count)


@handler("DBDel", "system", about="delete a value")
def db_del(call: Call) -> bytes:
    family, key = call.get("Family"), call.get("Key")
    if not family:
        return call.error("No family specified.")
    if not key:
        return call.error("No key specified.")
    if call.simulator.pbx.database.pop((family, key), None) is None:
        return call.error(
            "Database entry could not be deleted" if call.simulator.major >= 14 else "Database entry not found"
        )
    return call.success("Key deleted successfully")


@handler("DBDelTree", "system", about="delete all values under a key")
def db_del_tree(call: Call) -> bytes:
    family, key = call.get("Family"), call.get("Key")
    if not family:
        return call.error("No family specified.")
    database = call.simulator.pbx.database
    doomed = [each for each in database if each[0] == family and (not key or f"{each[1]}/".startswith(key + "/"))]
    for each in doomed:
        del database[each]
    return call.success("Key tree deleted successfully") if doomed else call.error("Database entry not found")
