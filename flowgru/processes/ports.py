"""The address at which a page is served."""

import ipaddress
import socket
from urllib.parse import urlsplit

from flowgru.config.require import require
from flowgru.errors import MachineError, one_line

THIS_MACHINE = "127.0.0.1"
"""The host that only this machine reaches."""

OWN_NAMES = (THIS_MACHINE, "localhost", "::1")
"""Names by which a machine reaches itself."""


def check_port(port: int) -> None:
    """RequestError, in the words of the command line, for what is no number of a port."""
    require(0 <= port <= 65535, "--port", port, "a number from 0 to 65535; 0 takes a free one")


def free_port(host: str, port: int) -> int:
    """The port, or for 0 one that is free. MachineError where nothing can listen there."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port that was left a moment ago is free
            probe.bind(address)
            return probe.getsockname()[1]
    except (OSError, UnicodeError) as error:  # UnicodeError where no name can be written so
        why = getattr(error, "strerror", None) or one_line(error)
        raise MachineError(
            f"cannot listen at {host}:{port} ({why}): give another --port, such as --port 0, which takes a free one, or "
            "another --host"
        ) from None


def address_text(host: str, port: int) -> str:
    """The address as it is written into a browser."""
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def is_of_this_machine(host: str) -> bool:
    """Whether only this machine reaches what listens at a host; True as well for a host that leads nowhere."""
    try:
        found = [str(address[0]) for *_, address in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]
    except (OSError, UnicodeError):
        found = []
    return all(ipaddress.ip_address(address.partition("%")[0]).is_loopback for address in found)


def is_asked_by_own_name(header: str, host: str) -> bool:
    """Whether the header Host of a request to a page at `host` has that name, or one of OWN_NAMES.

    Another name that leads to this machine is one of a page from elsewhere. The port says nothing, because `ssh -L` brings
    requests from any.
    """
    try:
        return urlsplit(f"//{header}").hostname in (*OWN_NAMES, host.lower())
    except ValueError:
        return False
