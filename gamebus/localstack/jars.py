"""Kafka's published jars, resolved once per user with Maven, and the Java that runs them."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import structlog

from gamebus.errors import StackError
from gamebus.localstack.locks import cache_folder, file_lock

KAFKA_VERSION: Final = "4.3.1"
_OLDEST_JAVA: Final = 17
_INSTALL: Final = "on Debian and Ubuntu: sudo apt-get install -y maven (brings Java too); on macOS: brew install maven"
# Pinned, because without a version Maven takes the newest one.
_COPY: Final = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"

# kafka-tools holds Kafka's own performance tools; without log4j-slf4j-impl the broker logs nothing.
_POM: Final = f"""\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>gamebus</groupId>
  <artifactId>localstack</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{KAFKA_VERSION}</version></dependency>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>{KAFKA_VERSION}</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>2.25.4</version></dependency>
  </dependencies>
</project>
"""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Java:
    """A Java that Kafka runs on.

    Attributes:
        program: its path.
        version: in full, such as 17.0.15.
    """

    program: str
    version: str


def find_java() -> Java:
    """JAVA_HOME's Java, else the one on PATH.

    Raises:
        StackError: there is none, or it is too old.
    """
    home = os.environ.get("JAVA_HOME")
    program = shutil.which("java", path=str(Path(home) / "bin")) if home else None
    program = program or shutil.which("java")
    if program is None:
        raise StackError(f"Kafka needs Java {_OLDEST_JAVA} or newer and none was found; {_INSTALL}")
    version = _java_version(program)
    # "17.0.15", "25-ea"; Java 8 calls itself "1.8".
    if int(re.split(r"\D", version)[0]) < _OLDEST_JAVA:
        raise StackError(f"Kafka needs Java {_OLDEST_JAVA} or newer and {program} is Java {version}; {_INSTALL}")
    return Java(program, version)


@cache
def _java_version(program: str) -> str:
    answer = subprocess.run([program, "-version"], capture_output=True, text=True, check=False).stderr
    version = re.search(r'version "(\d[\w.+-]*)', answer)
    if version is None:
        raise StackError(f"{program} -version does not name a version but says {answer.strip()!r}; {_INSTALL}")
    return version[1]


def kafka_jars() -> Path:
    """Folder of Kafka's jars; resolves them when they are not there (50 MB, about 10 s).

    Safe when several stacks start at once: one resolves, the others wait. An interrupted download leaves nothing behind that
    would be taken for a whole one.

    Raises:
        StackError: Maven is missing, or it failed; the message holds the end of its output.
    """
    digest = hashlib.sha256(_POM.encode()).hexdigest()[:8]
    folder = cache_folder() / f"kafka-{KAFKA_VERSION}-{digest}"
    if folder.exists():
        return folder
    with file_lock(folder.with_name(f"{folder.name}.lock")):
        if not folder.exists():
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".resolving-") as scratch:
                _resolve(Path(scratch))
                (Path(scratch) / "jars").rename(folder)
    return folder


def _resolve(scratch: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise StackError(f"Maven fetches Kafka's jars and was not found; {_INSTALL}")
    log.info("jars.requested", kafka=KAFKA_VERSION)
    (scratch / "pom.xml").write_text(_POM, encoding="utf-8")
    done = subprocess.run(
        [maven, "-q", "-B", "-C", _COPY, "-DincludeScope=runtime", f"-DoutputDirectory={scratch / 'jars'}"],
        cwd=scratch,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        end = "\n".join(f"    {line}" for line in done.stdout.splitlines()[:15])
        raise StackError(f"Maven could not fetch Kafka {KAFKA_VERSION}; check the network and Maven's settings:\n{end}")
    log.info("jars.resolved", jars=len(list((scratch / "jars").iterdir())))
