"""A file format of your own: this file is the `anychan` command, and reads .pam too, Netpbm's maps of any channels.

python examples/add_reader.py train --data.path path/to/pam --data.channels rgb --out runs/pam
"""

import sys
from typing import Any

import numpy as np
import numpy.typing as npt

import anychan as ac
from anychan.cli import main


def read_pam(data: bytes, name: str) -> npt.NDArray[Any]:
    """A file's bytes → (H, W, C); what is raised here is told with the file's name.

    Source: netpbm.sourceforge.net/doc/pam.html
    """
    header, _, pixels = data.partition(b"\nENDHDR\n")
    first, *lines = header.decode("ascii").splitlines()
    if first != "P7":
        raise ValueError("it does not begin with P7")
    said = dict(line.split(maxsplit=1) for line in lines if not line.startswith("#"))
    shape = [int(said[key]) for key in ("HEIGHT", "WIDTH", "DEPTH")]
    return np.frombuffer(pixels, ">u2" if int(said["MAXVAL"]) > 255 else "u1").reshape(shape)


ac.register_reader(".pam", read_pam)

if __name__ == "__main__":
    sys.exit(main())
