"""Tokens: who a client is (wire protocol, "Tokens").

A token is a JWT. Guarantees of :class:`TokenVerifier`: only an algorithm of the settings' list is believed, a shared secret never
verifies an asymmetric algorithm or the reverse (RFC 8725, section 2.1), and every claim that the gateway relies on has been checked.
Not guaranteed: revocation; a stolen token is good until it expires.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import jwt
from jwt.api_jwk import PyJWK, PyJWKSet

from gamebus.catalog import Role
from gamebus.errors import ConfigurationError
from gamebus.events import is_player_id
from gamebus.protocol.claims import Claims, TokenRefused
from gamebus.settings import AuthSettings

MIN_SECRET_BYTES: Final = 32
"""A shorter HS256 key can be guessed offline from one token (RFC 7518, section 3.2)."""

_HS256: Final = "HS256"
_ROLES: Final = {role.value: role for role in Role}


class TokenVerifier:
    """Turns a token into :class:`~gamebus.protocol.claims.Claims`, or refuses it.

    Raises:
        ConfigurationError: the settings leave an accepted algorithm without a key.
    """

    def __init__(self, settings: AuthSettings) -> None:
        self._audience = settings.audience
        self._leeway_ms = settings.leeway_s * 1000
        self._secret = _secret(settings) if _HS256 in settings.algorithms else None
        asymmetric = [name for name in settings.algorithms if name != _HS256]
        self._keys: Sequence[PyJWK] = _jwks(settings.jwks_file, asymmetric) if asymmetric else ()

    def __call__(self, token: str, now_ms: int) -> Claims:
        """Verify `token` at the Unix time `now_ms`.

        Raises:
            TokenRefused: it is not to be believed; `expired` when a fresh one of the same kind would be.
        """
        payload = self._payload(token)
        expires_ms = _milliseconds(payload, "exp")
        if expires_ms is None:
            raise TokenRefused(expired=False, reason="the claim exp is required")
        not_before_ms = _milliseconds(payload, "nbf")
        if not_before_ms is not None and not_before_ms > now_ms + self._leeway_ms:
            raise TokenRefused(expired=False, reason="the token is not valid yet (nbf)")
        sub, role = payload.get("sub"), payload.get("role")
        if not is_player_id(sub):
            raise TokenRefused(expired=False, reason="the claim sub is a player id: 1..64 of A-Z a-z 0-9 . _ -")
        if not isinstance(role, str) or role not in _ROLES:
            raise TokenRefused(expired=False, reason=f"the claim role is one of {', '.join(_ROLES)}")
        self._check_audience(payload.get("aud"))
        rooms = _rooms(payload)
        # Last, so that `expired` promises that a token with a later `exp` would have been accepted.
        if expires_ms + self._leeway_ms <= now_ms:
            raise TokenRefused(expired=True, reason="the token has expired")
        return Claims(sub=str(sub), role=_ROLES[role], expires_ms=expires_ms, rooms=rooms)

    def _payload(self, token: str) -> Mapping[str, Any]:
        """The claims of a token whose signature is good. Times and audience are ours to check: time is an argument here."""
        try:
            key = self._key(jwt.get_unverified_header(token))
            algorithm = _HS256 if isinstance(key, str) else key.algorithm_name
            payload: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                options={"verify_exp": False, "verify_nbf": False, "verify_iat": False, "verify_aud": False},
            )
        except (jwt.PyJWTError, ValueError, RecursionError) as error:
            # ValueError: text that cannot be a token at all (lone surrogates); RecursionError: JSON made to nest.
            raise TokenRefused(expired=False, reason=f"not a valid token: {error}") from error
        return payload

    def _key(self, header: Mapping[str, Any]) -> str | PyJWK:
        algorithm, kid = header.get("alg"), header.get("kid")
        if algorithm == _HS256 and self._secret is not None:
            return self._secret
        candidates = [key for key in self._keys if key.algorithm_name == algorithm]
        if kid is not None:
            candidates = [key for key in candidates if key.key_id == kid]
        if len(candidates) != 1:
            reason = "no key for its algorithm and kid" if not candidates else "it must name its key (kid)"
            raise TokenRefused(expired=False, reason=f"not a valid token: {reason}")
        return candidates[0]

    def _check_audience(self, audience: object) -> None:
        allowed = audience if isinstance(audience, list) else [audience]
        if self._audience not in allowed:
            raise TokenRefused(expired=False, reason=f"the claim aud is or contains {self._audience!r}")


def mint_token(
    secret: str,
    *,
    sub: str,
    role: Role | Literal["operator"],
    now_ms: int,
    ttl_s: float = 3600,
    rooms: Sequence[str] | None = None,
    audience: str = "gamebus",
) -> str:
    """Sign an HS256 token that :class:`TokenVerifier` accepts; one for an operator opens the dashboard only.

    Raises:
        ConfigurationError: the secret is too short, or `sub` is not a player id.
    """
    _check_secret(secret)
    if not is_player_id(sub):
        raise ConfigurationError(f"sub is a player id (1..64 of A-Z a-z 0-9 . _ -), not {sub!r}")
    issued_s = now_ms / 1000
    claims: dict[str, Any] = {"sub": sub, "role": str(role), "aud": audience, "iat": int(issued_s)}
    claims["exp"] = math.ceil(issued_s + ttl_s)
    if rooms is not None:
        claims["rooms"] = list(rooms)
    return jwt.encode(claims, secret, algorithm=_HS256)


def _secret(settings: AuthSettings) -> str:
    if settings.secret is None:
        raise ConfigurationError(
            "HS256 tokens need a shared secret: set GAMEBUS_AUTH__SECRET (at least 32 bytes), or take HS256 out of "
            "GAMEBUS_AUTH__ALGORITHMS"
        )
    secret = settings.secret.get_secret_value()
    _check_secret(secret)
    return secret


def _check_secret(secret: str) -> None:
    if len(secret.encode()) < MIN_SECRET_BYTES:
        raise ConfigurationError(
            f"GAMEBUS_AUTH__SECRET has {len(secret.encode())} bytes; HS256 needs at least {MIN_SECRET_BYTES}: try "
            "`openssl rand -hex 32`"
        )


def _jwks(path: Path | None, algorithms: Sequence[str]) -> Sequence[PyJWK]:
    wanted = ", ".join(algorithms)
    if path is None:
        raise ConfigurationError(f"{wanted} tokens need public keys: set GAMEBUS_AUTH__JWKS_FILE")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(document, dict):
            raise ConfigurationError(f"GAMEBUS_AUTH__JWKS_FILE {path} is not a JSON object with `keys` (RFC 7517)")
        found = PyJWKSet.from_dict(document).keys
    except (OSError, ValueError, RecursionError, jwt.PyJWTError) as error:
        raise ConfigurationError(f"GAMEBUS_AUTH__JWKS_FILE {path} cannot be used: {error}") from error
    keys = [key for key in found if key.algorithm_name in algorithms and key.public_key_use in (None, "sig")]
    missing = [name for name in algorithms if name not in {key.algorithm_name for key in keys}]
    if missing:
        raise ConfigurationError(f"GAMEBUS_AUTH__JWKS_FILE {path} holds no signature key for {', '.join(missing)}")
    for key in keys:
        weakness = key.Algorithm.check_key_length(key.key)
        if weakness:
            raise ConfigurationError(f"GAMEBUS_AUTH__JWKS_FILE {path}, key {key.key_id}: {weakness}")
    return keys


def _milliseconds(payload: Mapping[str, Any], claim: str) -> int | None:
    """A NumericDate (RFC 7519, section 2: seconds, perhaps with a fraction) in milliseconds; None when absent."""
    value = payload.get(claim)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TokenRefused(expired=False, reason=f"the claim {claim} is a number of seconds")
    # Times outside what every client can represent (2^53 ms is the year 287396) are clamped, not refused.
    return int(max(0, min(value * 1000, 2**53)))


def _rooms(payload: Mapping[str, Any]) -> tuple[str, ...] | None:
    if "rooms" not in payload:
        return None
    rooms = payload["rooms"]
    if not isinstance(rooms, list) or not all(isinstance(room, str) for room in rooms):
        raise TokenRefused(expired=False, reason="the claim rooms is a list of room names, exact or with a trailing *")
    return tuple(rooms)
