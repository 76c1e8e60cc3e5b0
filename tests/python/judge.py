"""The judge: makes frames and decodes what comes back, with scapy, inside one network namespace.

Reads one JSON request a line, {"snippet": ..., "args": ...}, runs the snippet and writes one line,
{"result": ...} or {"error": traceback}. Names that a snippet defines stay for the next one.
Frames are received on plain packet sockets that are opened before anything is sent, so no answer can be missed.
"""

import json
import linecache
import logging
import select
import socket
import struct
import sys
import time
import traceback

logging.getLogger("scapy.runtime").setLevel(logging.ERROR)

from scapy.all import *  # noqa: E402,F403
from scapy.all import ARP, Ether, ICMPv6EchoRequest, ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6NDOptDstLLAddr  # noqa: E402
from scapy.all import ICMPv6NDOptSrcLLAddr, IP, IPv6, Raw, UDP, get_if_hwaddr, in6_getnsma, in6_getnsmac  # noqa: E402
from scapy.all import inet_ntop, inet_pton  # noqa: E402

DEVICE = "eth0"
ETH_P_ALL = 3
PACKET_OUTGOING = 4
SO_RCVBUFFORCE = 33
SOL_PACKET = 263
PACKET_AUXDATA = 8
TP_STATUS_VLAN_VALID = 1 << 4
TP_STATUS_VLAN_TPID_VALID = 1 << 6

# Fields whose value follows from the rest of the packet.
COMPUTED = ("chksum", "cksum", "len", "plen")


class Capture:
    """Everything that arrives on a device from the moment this is made."""

    def __init__(self, device=DEVICE):
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
        self.socket.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        self.socket.bind((device, ETH_P_ALL))

    def frames(self, timeout):
        """Yields arriving frames, decoded, until `timeout` seconds have passed."""
        end = time.monotonic() + timeout
        while True:
            left = end - time.monotonic()
            if left < 0 or not select.select([self.socket], [], [], left)[0]:
                return
            data, control, _, address = self.socket.recvmsg(65535, 256)
            if address[2] != PACKET_OUTGOING:
                yield Ether(tagged(data, control))

    def collect(self, match, timeout, count=None):
        """The frames for which `match` holds: all within `timeout` seconds, or the first `count` as soon as they are there."""
        found = []
        for frame in self.frames(timeout):
            if match(frame):
                found.append(frame)
                if count is not None and len(found) >= count:
                    break
        return found

    def first(self, match, timeout=10):
        """The first frame for which `match` holds, or None."""
        found = self.collect(match, timeout, 1)
        return found[0] if found else None

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def tagged(data, control):
    """The frame with the VLAN tag that the kernel took out of it (packet(7), PACKET_AUXDATA)."""
    for level, kind, value in control:
        if (level, kind) == (SOL_PACKET, PACKET_AUXDATA):
            status, _, _, _, _, tci, tpid = struct.unpack_from("=IIIHHHH", value)
            if status & TP_STATUS_VLAN_VALID:
                tpid = tpid if status & TP_STATUS_VLAN_TPID_VALID else 0x8100
                return data[:12] + struct.pack("!HH", tpid, tci) + data[12:]
    return data


def send(frames, device=DEVICE):
    """Sends frames, given as scapy packets or as bytes, exactly as they are."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as output:
        output.bind((device, 0))
        for frame in frames:
            data = bytes(frame)
            # The kernel takes nothing shorter than an Ethernet header.
            output.send(data)
    return len(frames)


def ask(frame, match, timeout=10, device=DEVICE):
    """Sends one frame and returns the first arriving one for which `match` holds, or None."""
    with Capture(device) as capture:
        send([frame], device)
        return capture.first(match, timeout)


def ask_all(frame, match, timeout, device=DEVICE):
    """Sends one frame and returns all arriving ones for which `match` holds within `timeout` seconds."""
    with Capture(device) as capture:
        send([frame], device)
        return capture.collect(match, timeout)


def mac(device=DEVICE):
    """The MAC address of a device of this namespace."""
    return get_if_hwaddr(device)


def arp_question(target, source, device=DEVICE):
    """An ARP request for `target` from `source` (RFC 826)."""
    request = ARP(op="who-has", hwsrc=mac(device), psrc=source, pdst=target)
    return Ether(src=mac(device), dst="ff:ff:ff:ff:ff:ff") / request


def nd_question(target, source, device=DEVICE):
    """A neighbour solicitation for `target` from `source` (RFC 4861 section 4.3)."""
    group = in6_getnsma(inet_pton(socket.AF_INET6, target))
    ip = IPv6(src=source, dst=inet_ntop(socket.AF_INET6, group), hlim=255)
    option = ICMPv6NDOptSrcLLAddr(lladdr=mac(device))
    return Ether(src=mac(device), dst=in6_getnsmac(group)) / ip / ICMPv6ND_NS(tgt=target) / option


def gateway_mac(target, source, device=DEVICE, timeout=10):
    """The MAC address that answers for `target`, by ARP or neighbour discovery."""
    if ":" in target:
        answer = ask(nd_question(target, source, device), lambda p: ICMPv6ND_NA in p and p[ICMPv6ND_NA].tgt == target,
                     timeout, device)
        if answer is None:
            raise AssertionError(f"no neighbour advertisement for {target}")
        return answer[ICMPv6NDOptDstLLAddr].lladdr if ICMPv6NDOptDstLLAddr in answer else answer.src
    answer = ask(arp_question(target, source, device), lambda p: ARP in p and p[ARP].op == 2 and p[ARP].psrc == target,
                 timeout, device)
    if answer is None:
        raise AssertionError(f"no ARP reply for {target}")
    return answer[ARP].hwsrc


def wrong_checksums(packet):
    """The layers of a received packet whose checksum or length field is not what scapy computes; empty when all are right."""
    rebuilt = packet.copy()
    for layer in judged_layers(rebuilt):
        for field in COMPUTED:
            if field in layer.default_fields:
                layer.delfieldval(field)
    rebuilt = packet.__class__(bytes(rebuilt))
    wrong = []
    for ours, theirs in zip(judged_layers(packet), judged_layers(rebuilt)):
        for field in COMPUTED:
            if field in ours.fields and field in theirs.fields and ours.fields[field] != theirs.fields[field]:
                wrong.append(f"{ours.name}.{field} is {ours.fields[field]:#x}, not {theirs.fields[field]:#x}")
    return wrong


def judged_layers(packet):
    """The layers of a packet down to its data, without what an ICMP error quotes: that was cut, and is another's packet."""
    layers = []
    while packet and not isinstance(packet, Raw) and " in ICMP" not in packet.name:
        layers.append(packet)
        packet = packet.payload
    return layers


def truncations(frame, begin, end):
    """The frame cut to each length from `begin` to `end`, the end excluded, as bytes."""
    data = bytes(frame)
    return [data[:length] for length in range(begin, min(end, len(data)))]


def patched(frame, offset, values):
    """The frame as bytes with `values` written at `offset`, checksums left as they were."""
    data = bytearray(bytes(frame))
    data[offset:offset + len(values)] = bytes(values)
    return bytes(data)


def checksum(data):
    """The Internet checksum (RFC 1071), for fields that scapy would not fill."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def serve():
    names = dict(globals())
    answers = sys.stdout
    # What a snippet prints is for people.
    sys.stdout = sys.stderr
    for line in sys.stdin:
        request = json.loads(line)
        names["args"] = request["args"]
        names["result"] = None
        snippet = request["snippet"]
        # So that a traceback shows the snippet's own lines.
        linecache.cache["snippet"] = (len(snippet), None, snippet.splitlines(True), "snippet")
        try:
            exec(compile(snippet, "snippet", "exec"), names)
            answer = json.dumps({"result": names["result"]})
        except Exception:
            answer = json.dumps({"error": traceback.format_exc()})
        answers.write(answer + "\n")
        answers.flush()


if __name__ == "__main__":
    serve()
