"""Java, Maven and the cache of jars, with programs that stand on PATH in their place."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gamebus.errors import StackError
from gamebus.localstack.jars import KAFKA_VERSION, find_java, kafka_jars


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH and a cache that hold only what this test puts there."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    return folder


def put(folder: Path, name: str, script: str) -> None:
    """A program on PATH."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    (folder / name).chmod(0o755)


class TestFindJava:
    def test_missing_names_the_command_that_installs_it(self, path: Path) -> None:
        """One clear error instead of a stack trace from deep inside."""
        with pytest.raises(StackError, match=r"Java 17 or newer and none was found.*apt-get install -y maven"):
            find_java()

    @pytest.mark.parametrize("version", ["1.8.0_392", "11.0.21", "16"])
    def test_too_old_says_what_was_found(self, path: Path, version: str) -> None:
        """The broker would say UnsupportedClassVersionError."""
        put(path, "java", f"""echo 'openjdk version "{version}" 2024-01-01' >&2""")

        with pytest.raises(StackError, match=rf"bin/java is Java {version}.*apt-get install"):
            find_java()

    @pytest.mark.parametrize("version", ["17.0.15", "21", "25-ea", "17.0.15+6-Debian"])
    def test_new_enough(self, path: Path, version: str) -> None:
        """The forms in which Java names its version."""
        put(path, "java", f"""echo 'openjdk version "{version}" 2024-01-01' >&2""")

        assert find_java().version == version

    def test_java_home_comes_first(self, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Who has several says by JAVA_HOME which one to use."""
        put(path, "java", """echo 'openjdk version "11" 2024-01-01' >&2""")
        put(tmp_path / "jdk" / "bin", "java", """echo 'openjdk version "21.0.1" 2024-01-01' >&2""")
        monkeypatch.setenv("JAVA_HOME", str(tmp_path / "jdk"))

        assert find_java().program == str(tmp_path / "jdk" / "bin" / "java")

    def test_that_answers_nonsense(self, path: Path) -> None:
        """macOS has a `java` that only says where to get one."""
        put(path, "java", "echo 'Unable to locate a Java Runtime.' >&2; exit 1")

        with pytest.raises(StackError, match="Unable to locate a Java Runtime"):
            find_java()


MAVEN = """
for word in "$@"; do case $word in -DoutputDirectory=*) folder=${word#*=};; esac; done
echo run >> "$COUNT"
/bin/sleep 0.2
/bin/mkdir "$folder"
echo jar > "$folder/kafka.jar"
"""


class TestKafkaJars:
    def test_missing_maven_names_the_command_that_installs_it(self, path: Path) -> None:
        """Java alone is not enough the first time."""
        with pytest.raises(StackError, match=r"Maven fetches.*apt-get install -y maven"):
            kafka_jars()

    def test_failure_shows_what_maven_said_and_leaves_nothing(self, path: Path, tmp_path: Path) -> None:
        """Without a network the first `up` says so, and the next one tries again."""
        put(path, "mvn", "echo '[ERROR] Unknown host repo.example'; exit 1")

        with pytest.raises(StackError, match=f"(?s)could not fetch Kafka {KAFKA_VERSION}.*Unknown host repo.example"):
            kafka_jars()

        assert not list((tmp_path / "cache" / "gamebus").glob("*/"))

    def test_are_resolved_once_however_many_ask(
        self, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Stacks that start at the same time share one download, and nobody sees half of it."""
        monkeypatch.setenv("COUNT", str(tmp_path / "count"))
        put(path, "mvn", MAVEN)

        with ThreadPoolExecutor(4) as pool:
            folders = set(pool.map(lambda _: kafka_jars(), range(4)))

        assert [jar.name for jar in folders.pop().iterdir()] == ["kafka.jar"]
        assert not folders
        assert (tmp_path / "count").read_text() == "run\n"
