"""What the doctor says of this machine and the settings."""

from __future__ import annotations

import resource

from pydantic import SecretStr

from gamebus.catalog_file import parse_catalog
from gamebus.doctor.finding import Grade
from gamebus.doctor.machine import examine_machine
from gamebus.settings import AuthSettings, GatewaySettings, Settings


def grades(settings: Settings) -> dict[str, Grade]:
    return {finding.name: finding.grade for finding in examine_machine(settings, parse_catalog())}


class TestExamineMachine:
    def test_tokens_that_nobody_could_check_are_a_failure(self) -> None:
        """A gateway would not start; a short secret can be guessed."""
        assert grades(Settings(auth=AuthSettings()))["tokens"] is Grade.FAIL
        assert grades(Settings(auth=AuthSettings(secret=SecretStr("short"))))["tokens"] is Grade.FAIL
        assert grades(Settings(auth=AuthSettings(secret=SecretStr("x" * 32))))["tokens"] is Grade.OK

    def test_more_connections_than_files_are_a_warning(self) -> None:
        """The gateway would refuse players long before it is full."""
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        assert grades(Settings(gateway=GatewaySettings(max_connections=limit)))["file limit"] is Grade.WARN
        assert grades(Settings(gateway=GatewaySettings(max_connections=1)))["file limit"] is Grade.OK

    def test_asyncio_alone_is_a_warning(self) -> None:
        """It works, slower."""
        assert grades(Settings(loop="asyncio"))["event loop"] is Grade.WARN
