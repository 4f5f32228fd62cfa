"""The configuration of HAProxy in front of the replicas of all shards, and its maps of slots and of moved symbols."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import urlsplit

from hft_mmap.slots import MOST_SLOTS, parse_slots

MAP_NAME = "slots.map"
MOVED_NAME = "moved.map"
CONFIGURATION_NAME = "haproxy.cfg"

_HEAD = """\
# Written by hft-mmap cluster haproxy; write it anew when a shard, a slot or a replica changes.
global
    maxconn 4000
    # A body of JSON is read so far to find its symbol.
    tune.bufsize 65536

defaults
    mode http
    timeout connect 1s
    timeout check 2s
    timeout http-request 10s
    timeout client 75s
    timeout server 75s
    timeout tunnel 1h
    option redispatch

frontend prices
    bind {bind}
{host}    # Where the symbol stands: in the query, in the path, or in a body of JSON.
    acl batch path /add_batch /add_batch/
    acl json req.hdr(content-type) -m beg -i application/json
    http-request set-var(txn.symbol) url_param(symbol),url_dec(1) if {{ url_param(symbol) -m found }}
    http-request set-var(txn.symbol) path,regsub(^/symbols/,),url_dec if {{ path_beg /symbols/ }}
    http-request wait-for-body time 10s if batch json ! {{ var(txn.symbol) -m found }}
    http-request set-var(txn.symbol) req.body,json_query('$.symbol') if batch json ! {{ var(txn.symbol) -m found }}
    http-request set-var(txn.slot) var(txn.symbol),crc32,mod({slots}) if {{ var(txn.symbol) -m found }}
    http-request set-var(txn.shard) var(txn.slot),map_int({map}) if {{ var(txn.slot) -m found }}
    # Symbols that have moved, in hexadecimal: names may have spaces.
    http-request set-var(txn.moved) var(txn.symbol),hex,map({moved}) if {{ var(txn.symbol) -m found }}
    http-request set-var(txn.shard) var(txn.moved) if {{ var(txn.moved) -m found }}
    # What names no symbol names its shard: /shard/0/symbols.
    http-request set-var(txn.shard) path,field(3,/) if {{ path_reg ^/shard/[0-9]+/ }}
    http-request set-path %[path,regsub(^/shard/[0-9]+,)] if {{ path_reg ^/shard/[0-9]+/ }}
    acl placed var(txn.shard) -m found
    http-request return status 200 content-type text/html string '{page}' if {{ path / }} !placed
    http-request return status 400 content-type application/problem+json string '{no_symbol}' unless placed
"""
_USE = """\
    use_backend shard_{shard}_any if {{ var(txn.shard) -m str {shard} }} METH_GET {{ req.hdr(x-read) -i any }}
    use_backend shard_{shard} if {{ var(txn.shard) -m str {shard} }}
"""
_UNKNOWN = "    http-request return status 400 content-type application/problem+json string '{text}' unless {known}\n"
_BACKEND = """
# The first replica that is ready takes everything; no batch is sent twice.
backend shard_{shard}
    option httpchk
    http-check send meth GET uri /ready ver HTTP/1.1 hdr Host localhost
    http-check expect status 200
    retry-on conn-failure
    http-reuse never
    default-server check inter 200ms fall 2 rise 1 on-marked-down shutdown-sessions
{servers}
# Reads of X-Read: any go to each that answers, also where none takes batches.
backend shard_{shard}_any
    balance roundrobin
    option httpchk
    http-check send meth GET uri /health ver HTTP/1.1 hdr Host localhost
    http-check expect status 200
    retry-on conn-failure empty-response
    default-server check inter 500ms fall 2 rise 1
{all}"""
_PROBLEM = '{{"title":"Bad Request","status":400,"detail":"{}"}}'
_NO_SYMBOL = _PROBLEM.format("This names no symbol: say ?symbol= or /shard/NUMBER/ before the path")
_NO_SUCH = _PROBLEM.format("There is no such shard")


class Member(NamedTuple):
    """A replica, as its GET /cluster tells."""

    url: str
    shard: int
    name: str
    slots: str
    moved: Mapping[str, int] = MappingProxyType({})
    """The shards of symbols that have left this one."""


def shards_of(members: Sequence[Member]) -> dict[int, list[Member]]:
    """Return the replicas of each shard, in the order that they were given."""
    ordered = sorted(members, key=lambda member: member.shard)
    return {shard: list(found) for shard, found in groupby(ordered, key=lambda member: member.shard)}


def faults_of(shards: Mapping[int, Sequence[Member]]) -> list[str]:
    """Return why no map can be made of what replicas say of their slots."""
    found = []
    owner: dict[int, int] = {}
    for shard, members in shards.items():
        slots = parse_slots(members[0].slots)
        found += [
            f"{member.url} makes symbols in slots {member.slots}, and {members[0].url} of the same shard in "
            f"{members[0].slots}: give all replicas of a shard the same cluster.slots"
            for member in members[1:]
            if parse_slots(member.slots) != slots
        ]
        if twice := sorted(slot for slot in slots if slot in owner):
            both = f"shard {owner[twice[0]]} and of shard {shard}"
            found.append(f"slot {twice[0]} is of {both}: take it from one of them")
        owner |= dict.fromkeys(slots, shard)
        names = [member.name for member in members]
        found += [f"two replicas of shard {shard} are named {name}" for name in set(names) if names.count(name) > 1]
    if missing := [slot for slot in range(MOST_SLOTS) if slot not in owner]:
        found.append(f"slot {missing[0]} is of no shard: {len(missing)} of {MOST_SLOTS} slots have no replica here")
    found += [
        f"{member.url} is no address that HAProxy can be given, which is http://HOST:PORT"
        for members in shards.values()
        for member in members
        if urlsplit(member.url).scheme != "http" or urlsplit(member.url).path.strip("/")
    ]
    return found


def slots_map(shards: Mapping[int, Sequence[Member]]) -> str:
    """Return the lines of the map: a range of slots, and its shard."""
    owner = {slot: shard for shard, members in shards.items() for slot in parse_slots(members[0].slots)}
    lines = []
    for shard, run in groupby(range(MOST_SLOTS), key=owner.__getitem__):
        slots = list(run)
        lines.append(f"{slots[0]}:{slots[-1]} {shard}\n")
    return "".join(lines)


def moved_map(shards: Mapping[int, Sequence[Member]]) -> str:
    """Return the lines of the map of symbols that have moved: the bytes of each in hexadecimal, and its shard."""
    left = {(shard, symbol): to for shard, (first, *_) in shards.items() for symbol, to in first.moved.items()}
    # Of several moves one after the other, the last came to a shard that the symbol has not left.
    found = {symbol: to for (_, symbol), to in left.items() if (to, symbol) not in left}
    return "".join(f"{symbol.encode().hex().upper()} {to}\n" for symbol, to in sorted(found.items()))


def configuration(shards: Mapping[int, Sequence[Member]], directory: str, bind: str, host: str) -> str:
    """Return the configuration, with maps in `directory`; `host`: the one name that it answers to, empty for any."""
    only = f"    http-request deny deny_status 421 unless {{ req.hdr(host),field(1,:) -i {host} }}\n" if host else ""
    links = "".join(f'<li><a href="/shard/{shard}/">Shard {shard}</a>' for shard in shards)
    page = f"<!doctype html><title>Shards</title><ul>{links}</ul>"
    head = _HEAD.format(
        bind=bind, host=only, slots=MOST_SLOTS, page=page, no_symbol=_NO_SYMBOL,
        map=f"{directory}{MAP_NAME}", moved=f"{directory}{MOVED_NAME}",
    )  # fmt: skip
    known = f"{{ var(txn.shard) -m str {' '.join(map(str, shards))} }}"
    parts = [head, _UNKNOWN.format(text=_NO_SUCH, known=known)]
    parts += [_USE.format(shard=shard) for shard in shards]
    for shard, members in shards.items():
        first = "".join(_server(member, backup=i > 0) for i, member in enumerate(members))
        every = "".join(_server(member, backup=False) for member in members)
        parts.append(_BACKEND.format(shard=shard, servers=first, all=every))
    return "".join(parts)


def written(shards: Mapping[int, Sequence[Member]], directory: str, bind: str, host: str) -> dict[str, str]:
    """Return the text of each file; the arguments are those of `configuration`."""
    return {
        MAP_NAME: slots_map(shards),
        MOVED_NAME: moved_map(shards),
        CONFIGURATION_NAME: configuration(shards, directory, bind, host),
    }


def _server(member: Member, *, backup: bool) -> str:
    place = urlsplit(member.url)
    return f"    server {member.name} {place.hostname}:{place.port or 80}{' backup' if backup else ''}\n"
