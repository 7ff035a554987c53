"""Build the real inference server of the end-to-end tests, once a machine.

``python -m tests.real_model.build`` prints the folder that then holds ``llama-server``, compiled
from the llama.cpp tree inside llama-cpp-python's source distribution on PyPI, and a 2.4 MB model
that `make_model` writes. No weights are downloaded. About six minutes on two cores; later calls
return at once. Callers in parallel wait for one another, and a build that dies leaves nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

SOURCE = "llama-cpp-python==0.3.36"
HERE = Path(__file__).parent
RECIPE = (HERE / "make_model.py", HERE / "chat.jinja")

# -O1 halves the compile time, and the tiny model does not notice. Everything that would look
# for a library, a network or the CPU's own instructions is off: the binary is static and portable.
CMAKE_FLAGS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DCMAKE_CXX_FLAGS_RELEASE=-O1",
    "-DCMAKE_C_FLAGS_RELEASE=-O2",
    "-DGGML_NATIVE=OFF",
    "-DGGML_CPU_REPACK=OFF",
    "-DGGML_LLAMAFILE=OFF",
    "-DGGML_OPENMP=OFF",
    "-DBUILD_SHARED_LIBS=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_APP=OFF",
    "-DLLAMA_BUILD_UI=OFF",
    "-DLLAMA_USE_PREBUILT_UI=OFF",
    "-DLLAMA_OPENSSL=OFF",
)


def cache_dir() -> Path:
    """Return where the tests keep what is slow to make."""
    if own := os.environ.get("ALLOY_TEST_CACHE"):
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "alloy_nb"


def folder() -> Path:
    """Return the folder of the built parts, built or not."""
    return cache_dir() / "real-model"


def server_path() -> Path:
    """Return where the server's program is or will be."""
    return folder() / "llama-server"


def model_path() -> Path:
    """Return where the model is or will be; a changed recipe gives another name."""
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in RECIPE)).hexdigest()
    return folder() / f"model-{digest[:12]}.gguf"


def is_built() -> bool:
    """Tell whether both parts are there."""
    return os.access(server_path(), os.X_OK) and model_path().is_file()


def build() -> Path:
    """Make what is missing and return the folder."""
    if is_built():
        return folder()
    folder().mkdir(parents=True, exist_ok=True)
    with _locked(folder() / "lock"):
        if not is_built():  # another process may have done it while we waited
            _build_aside()
    return folder()


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock that the system drops when its holder dies."""
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _build_aside() -> None:
    """Build next to the final place, then rename: nobody ever sees half a file."""
    with tempfile.TemporaryDirectory(prefix="building-", dir=folder()) as name:
        work = Path(name)
        tools = _make_tools(work)
        if not server_path().exists():
            _compile(work, tools).replace(server_path())
        if not model_path().exists():
            draft = work / "model.gguf"
            _run(tools / "python", HERE / "make_model.py", draft)
            draft.replace(model_path())


def _make_tools(work: Path) -> Path:
    """Make a venv with the compilers' drivers and the model's writer; return its bin folder."""
    _run(sys.executable, "-m", "venv", work / "venv")
    tools = work / "venv" / "bin"
    _run(tools / "python", "-m", "pip", "install", "-q", "cmake", "ninja", "gguf", "numpy")
    return tools


def _compile(work: Path, tools: Path) -> Path:
    """Download and compile the server; return the program."""
    pip = (tools / "python", "-m", "pip", "download", "-q", "--no-deps")
    _run(*pip, "--no-binary", "llama-cpp-python", "-d", work, SOURCE)
    with tarfile.open(next(work.glob("llama_cpp_python-*.tar.gz"))) as archive:
        archive.extractall(work, filter="data")
    source = next(work.glob("llama_cpp_python-*/vendor/llama.cpp"))
    out = work / "build"
    env = os.environ | {"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
    _run(tools / "cmake", "-S", source, "-B", out, "-G", "Ninja", *CMAKE_FLAGS, env=env)
    jobs = f"-j{os.cpu_count() or 1}"
    _run(tools / "cmake", "--build", out, "--target", "llama-server", jobs, env=env)
    return out / "bin" / "llama-server"


def _run(*command: str | Path, env: dict[str, str] | None = None) -> None:
    """Run a step; what it prints goes to our stderr, for stdout is the folder alone."""
    subprocess.run([str(part) for part in command], check=True, stdout=sys.stderr, env=env)


if __name__ == "__main__":
    print(build())
