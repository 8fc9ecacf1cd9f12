"""The hub: joins, ticks, durable events and presence of one gateway, seen by its clients."""

from __future__ import annotations

from typing import Any

import pytest

from gamebus.catalog import Role
from gamebus.gateway.hub import ConsumerRecord
from gamebus.gateway.joining import JOIN_DEADLINE_S
from gamebus.gateway.membership import REFRESH_S
from gamebus.gateway.server_frame import server_frame
from gamebus.protocol.frames import Encoding
from gamebus.record import encode_realtime
from gamebus.state.directory import PlayerEntry
from tests.gateway.hub_kit import (
    CHAT,
    COMBAT,
    PERIOD_S,
    POSITION,
    Gateway,
    Reader,
    Record,
    chat,
)


class TestJoin:
    """`join` and `joined`."""

    def test_tells_what_the_room_is(self) -> None:
        """`joined` holds the head's cursor, all players (oneself too), the last positions known here, the tick rate."""
        gateway = Gateway(tick_hz=20)
        gateway.reader("alice", "r")
        gateway.reader("eye", "r", role=Role.SPECTATOR)
        gateway.reader("arena", "r", role=Role.SERVER)
        here = gateway.move("r", "alice")
        there = gateway.move("r", "npc")

        bob = gateway.reader("bob", "r")

        ((_, room, info),) = bob.of("joined")
        assert room == "r"
        assert info == {
            "cursor": gateway.hub.history.cursor("r", gateway.hub.history.head("r")),
            "players": ["alice", "bob"],
            "positions": [["alice", here], ["npc", there]],
            "tick_hz": 20,
            "recovered": None,
        }

    def test_is_refused_before_the_tail_has_caught_up(self) -> None:
        """Earlier, cursors would be wrong and duplicates unknown."""
        gateway = Gateway()
        gateway.hub._live = False
        with pytest.raises(RuntimeError, match="go_live"):
            gateway.hub.join(Reader(gateway.loop, "alice"), "r")

    def test_is_answered_each_time(self) -> None:
        """A repeated join is answered and doubles nothing."""
        gateway = Gateway()
        alice = gateway.reader("alice", "r", "r")
        gateway.hub.join(alice, "r")
        gateway.publish(chat("r", "1"))
        gateway.move("r", "alice")

        assert len(alice.of("joined")) == 3
        assert alice.events("r") == ["1"]
        assert len(alice.of("tick")) == 1
        assert gateway.hub.statistics().members == 1

    def test_events_between_the_request_and_the_answer_follow_it(self) -> None:
        """A client that joins and chats without waiting gets its own event, after `joined`."""
        gateway = Gateway()
        alice = Reader(gateway.loop, "alice")
        gateway.hub.join(alice, "r")
        alice.outbox.send(server_frame(["pong", 1, 2], Encoding.MSGPACK))
        gateway.publish(chat("r", "1"))
        assert alice.messages == []

        gateway.loop.advance(JOIN_DEADLINE_S)

        assert [message[0] for message in alice.messages] == ["joined", "pong", "event"]
        assert alice.messages[0][2]["recovered"] is None

    def test_a_leave_that_follows_at_once_is_answered_after_it(self) -> None:
        """`joined` comes before `left` also where the room was still being read."""
        gateway = Gateway()
        alice = Reader(gateway.loop, "alice")
        gateway.hub.join(alice, "r")
        gateway.hub.leave(alice, "r")

        assert [message[0] for message in alice.messages] == ["joined"]
        gateway.publish(chat("r", "1"))
        gateway.loop.advance(1)
        assert [message[0] for message in alice.messages] == ["joined"]
        assert gateway.hub.statistics().rooms == 0

    def test_a_connection_that_ends_meanwhile_leaves_nothing(self) -> None:
        """No answer to nobody, and its place in the outbox does not hold up its `bye`."""
        gateway = Gateway()
        alice = Reader(gateway.loop, "alice")
        gateway.hub.join(alice, "r")
        gateway.hub.drop(alice)
        gateway.loop.advance(1)

        assert alice.messages == []
        assert alice.outbox.writable
        assert gateway.hub.statistics().clients == 0

    async def test_a_room_is_read_from_redis_first(self) -> None:
        """The first client here learns of players and positions on other gateways, without presence of whom it knows."""
        gateway = Gateway()
        gateway.redis.sessions["r"] = {"far": "elsewhere"}
        gateway.redis.known_positions["r"] = {"far": [7, 1, 2, 3], "gone": [1, 0, 0, 0]}
        alice = Reader(gateway.loop, "alice")
        gateway.hub.join(alice, "r")

        await gateway.step()

        assert alice.of("joined")[0][2]["players"] == ["alice", "far"]
        assert alice.of("joined")[0][2]["positions"] == [["far", [7, 1, 2, 3]]]
        gateway.loop.advance(2)
        assert alice.of("presence") == []

    async def test_a_redis_that_is_down_delays_the_first_join_only(self) -> None:
        """Joins go on with what is known here."""
        gateway = Gateway()
        gateway.redis.down = True
        alice = Reader(gateway.loop, "alice")
        gateway.hub.join(alice, "r")
        await gateway.step()
        assert alice.messages == []

        gateway.loop.advance(JOIN_DEADLINE_S)
        assert alice.of("joined")[0][2]["players"] == ["alice"]

        bob = Reader(gateway.loop, "bob")
        gateway.hub.join(bob, "r")
        assert bob.of("joined")[0][2]["players"] == ["alice", "bob"]


class TestTicks:
    """Positions."""

    def test_a_quiet_room_ticks_at_once(self) -> None:
        """The first position after a pause is not held back."""
        gateway = Gateway()
        alice = gateway.reader("alice", "r")

        here = gateway.move("r", "alice")

        assert alice.of("tick") == [["tick", "r", gateway.loop.now_ms(), [["alice", here]]]]

    def test_a_busy_room_ticks_at_its_rate_with_the_newest(self) -> None:
        """Between ticks positions replace each other, in the order of Kafka."""
        gateway = Gateway(tick_hz=20)
        alice = gateway.reader("alice", "r")
        gateway.move("r", "alice")
        for _ in range(10):
            gateway.loop.advance(PERIOD_S / 10)
            newest = gateway.move("r", "alice")
            other = gateway.move("r", "bob")

        ticks = alice.of("tick")
        assert len(ticks) == 2
        assert ticks[1][2] - ticks[0][2] == 50
        gateway.loop.advance(PERIOD_S)
        assert dict(map(tuple, alice.of("tick")[-1][3])) == {"alice": newest, "bob": other}
        assert len(alice.of("tick")) == 3

    def test_the_age_of_its_oldest_position_is_told(self) -> None:
        """Operators see how old what players see is: from the gateway that took it to the tick that shows it."""
        gateway = Gateway(tick_hz=20)
        gateway.reader("alice", "r")
        gateway.move("r", "npc", server_ms=gateway.loop.now_ms() - 40)
        gateway.move("r", "npc")
        gateway.move("r", "npc")
        gateway.loop.advance(PERIOD_S)

        age = gateway.hub.statistics().age_seconds
        assert age.count == 2
        assert 0.040 + PERIOD_S <= age.sum_s <= 0.041 + PERIOD_S

    def test_a_gateway_that_stood_still_shows_no_old_positions(self) -> None:
        """A position that waited for its tick while the process was stopped is not news any more; the next one is."""
        gateway = Gateway(tick_hz=20)
        alice = gateway.reader("alice", "r")
        gateway.move("r", "alice")
        gateway.loop.advance(PERIOD_S / 10)
        old = gateway.move("r", "bob")
        seen = len(alice.of("tick"))

        gateway.loop.stand_still(3.0)
        assert alice.of("tick")[seen:] == []
        assert gateway.hub.statistics().dropped_total["stale"] == 1
        fresh = gateway.move("r", "bob")
        gateway.loop.advance(PERIOD_S)
        assert fresh != old
        assert [dict(map(tuple, tick[3])) for tick in alice.of("tick")[seen:]] == [{"bob": fresh}]

    def test_a_late_timer_does_not_lower_the_rate(self) -> None:
        """Ticks are a period apart on average, however late each timer is."""
        gateway = Gateway(tick_hz=20)
        alice = gateway.reader("alice", "r")
        for _ in range(1000):
            gateway.loop._now += 0.007
            gateway.move("r", "alice")

        assert len(alice.of("tick")) == pytest.approx(7.0 * 20, abs=2)

    def test_an_idle_hub_owes_nothing(self) -> None:
        """Rooms without news cost no timer."""
        gateway = Gateway()
        gateway.reader("alice", "r")
        gateway.move("r", "alice")
        gateway.loop.advance(1)

        assert gateway.loop.idle

    def test_one_frame_serves_all_receivers(self) -> None:
        """The same bytes object goes to every client of an encoding, the mover included; JSON and msgpack share a room."""
        gateway = Gateway()
        readers = [gateway.reader(f"p{index}", "r") for index in range(3)]
        texts = [gateway.reader(f"t{index}", "r", encoding=Encoding.JSON) for index in range(3)]
        here = gateway.move("r", "p0")

        assert len({id(reader.frames[-1]) for reader in readers}) == 1
        assert len({id(reader.frames[-1]) for reader in texts}) == 1
        assert readers[0].messages[-1] == texts[0].messages[-1] == ["tick", "r", gateway.loop.now_ms(), [["p0", here]]]
        statistics = gateway.hub.statistics()
        assert (statistics.ticks_total, statistics.tick_entries_total, statistics.tick_frames_total) == (1, 1, 6)

    def test_rooms_do_not_mix(self) -> None:
        """A client gets ticks of its rooms only; of rooms without clients nothing is kept."""
        gateway = Gateway()
        alice = gateway.reader("alice", "r")
        gateway.move("other", "bob")
        gateway.move("r2", "bob")

        assert alice.of("tick") == []
        assert gateway.hub.statistics().positions_total == 0

    def test_stale_positions_are_dropped_and_counted(self) -> None:
        """After an outage clients see fresh positions, not a replay."""
        gateway = Gateway()
        alice = gateway.reader("alice", "r")
        gateway.move("r", "alice", server_ms=gateway.loop.now_ms() - 1001)
        gateway.move("r", "bob", server_ms=gateway.loop.now_ms() - 1000)

        assert list(alice.view("r")) == ["bob"]
        assert gateway.hub.statistics().dropped_total["stale"] == 1

    def test_whoever_leaves_is_null_in_the_next_tick(self) -> None:
        """And its last positions, still on their way through Kafka, do not bring it back."""
        gateway = Gateway()
        alice = gateway.reader("alice", "r")
        bob = gateway.reader("bob", "r")
        gateway.move("r", "bob")
        left_ms = gateway.loop.now_ms()
        gateway.hub.drop(bob)
        gateway.loop.advance(PERIOD_S)
        assert alice.of("tick")[-1][3] == [["bob", None]]

        gateway.move("r", "bob", server_ms=left_ms)
        gateway.loop.advance(PERIOD_S)
        assert alice.view("r") == {}
        assert gateway.hub.statistics().dropped_total["departed"] == 1

    def test_whoever_comes_back_is_seen(self) -> None:
        """A player that left and joined again moves as before; so does one in whose name a server publishes later."""
        gateway = Gateway()
        alice = gateway.reader("alice", "r")
        bob = gateway.reader("bob", "r")
        gateway.move("r", "bob")
        gateway.hub.leave(bob, "r")
        gateway.hub.join(bob, "r")
        gateway.loop.settle()
        here = gateway.move("r", "bob")
        gateway.loop.advance(PERIOD_S)
        assert alice.view("r") == {"bob": here}

        gateway.hub.drop(bob)
        gateway.loop.advance(PERIOD_S)
        there = gateway.move("r", "bob")
        gateway.loop.advance(PERIOD_S)
        assert alice.view("r") == {"bob": there}

    def test_players_without_a_connection_are_shown_and_forgotten(self) -> None:
        """A server publishes in a player's name; names that fall silent do not pile up."""
        gateway = Gateway()
        alice = gateway.reader("alice", "r")
        here = gateway.move("r", "npc")
        assert alice.view("r") == {"npc": here}
        for _ in range(30):
            gateway.loop.advance(1)
            gateway.hub.sweep()
        gateway.loop.advance(PERIOD_S)

        assert alice.view("r") == {}
        assert alice.of("tick")[-1][3] == [["npc", None]]

    def test_a_poison_position_harms_nobody(self) -> None:
        """Whatever another producer writes into the topic, the room ticks on."""
        gateway = Gateway()
        alice = gateway.reader("alice", "r", encoding=Encoding.JSON)
        now_ms = gateway.loop.now_ms()

        def record(data: Any, type_: str = "position") -> Record:
            return Record(0, b"r", encode_realtime(type_, "r", "evil", now_ms, "boot", 1, data))

        records: list[ConsumerRecord] = [
            Record(0, b"r", b"garbage"),
            Record(0, b"r", None),
            record([1, float("nan"), 0, 0]),
            record(None),
            record([1, 2], "heartbeat"),
        ]
        gateway.hub.on_realtime(POSITION, 0, records)
        here = gateway.move("r", "alice")
        gateway.loop.advance(PERIOD_S)
        gateway.hub.on_realtime(POSITION, 0, [record(b"bytes")])
        gateway.loop.advance(PERIOD_S)

        assert alice.view("r") == {"alice": here}
        assert gateway.reader("bob", "r").view("r") == {"alice": here}
        assert gateway.hub.statistics().invalid_total == 2


class TestSlowReaders:
    """Clients that do not read."""

    def test_get_what_they_missed_and_delay_nobody(self) -> None:
        """After a stall one tick holds everyone that moved meanwhile, nulls included: the view is that of the others."""
        gateway = Gateway()
        alice = gateway.reader("alice", "r")
        slow = gateway.reader("slow", "r")
        carol = gateway.reader("carol", "r")
        gateway.move("r", "carol")
        gateway.move("r", "still")
        gateway.loop.advance(1)
        slow.stall()
        ticks = len(slow.of("tick"))
        for _ in range(100):
            gateway.move("r", "alice")
            gateway.loop.advance(PERIOD_S)
        gateway.hub.drop(carol)
        gateway.loop.advance(PERIOD_S)
        assert slow.outbox.statistics().missed_rooms == 1

        slow.resume()

        assert len(slow.of("tick")) == ticks + 1
        assert dict(map(tuple, slow.of("tick")[-1][3])) == {"alice": alice.view("r")["alice"], "carol": None}
        assert slow.view("r") == alice.view("r")
        assert slow.outbox.writable

    def test_that_overflow_are_cut_off_and_can_resume(self) -> None:
        """Past the bound the client is closed (4001); nothing it had not got is lost to it."""
        gateway = Gateway()
        slow = gateway.reader("slow", "r", limit_bytes=2000)
        gateway.publish(chat("r", "seen"))
        cursor = slow.of("event")[-1][7]
        slow.stall()
        for index in range(50):
            gateway.publish(chat("r", str(index)))
        assert slow.overflows == 1
        gateway.hub.drop(slow)
        assert gateway.hub.statistics().overflows_total == 1

        again = Reader(gateway.loop, "slow")
        gateway.hub.join(again, "r", cursor)
        gateway.loop.advance(JOIN_DEADLINE_S)

        assert again.of("joined")[0][2]["recovered"] is True
        assert again.events("r") == [str(index) for index in range(50)]

    def test_are_counted(self) -> None:
        """The most that ever waited for a client outlives it."""
        gateway = Gateway()
        slow = gateway.reader("slow", "r")
        slow.stall()
        gateway.publish(chat("r", "1"))
        peak = gateway.hub.statistics().outbox_peak_bytes
        gateway.hub.drop(slow)

        assert gateway.hub.statistics().outbox_peak_bytes == peak > 0


class TestDurableEvents:
    """Durable events."""

    def test_reach_everyone_once_in_order(self) -> None:
        """The publisher included; the same frame for all."""
        gateway = Gateway()
        readers = [gateway.reader(name, "r") for name in ("alice", "bob")]
        for index in range(5):
            gateway.publish(chat("r", str(index)))
            gateway.publish(chat("r", str(index)))

        assert [reader.events("r") for reader in readers] == [["0", "1", "2", "3", "4"]] * 2
        assert readers[0].frames[-1] is readers[1].frames[-1]
        assert gateway.hub.statistics().duplicates_total == 5
        assert gateway.hub.statistics().event_frames_total == 10

    def test_poison_is_counted_and_passed_over(self) -> None:
        """What another producer writes into the topic stops nothing."""
        gateway = Gateway()
        alice = gateway.reader("alice", "r", encoding=Encoding.JSON)
        for value in (b"garbage", None, b"\x98\x01\xa4chat\xa1r\xa1a\x01\xa1p\xa2id\xc4\x01x"):
            topic, partition, record = gateway.kafka.raw("r", value)
            gateway.hub.on_durable(topic, partition, [record])
        gateway.publish(chat("r", "1"))

        assert alice.events("r") == ["1"]
        assert gateway.hub.statistics().invalid_total == 3

    def test_a_frame_in_the_queue_is_not_overtaken_by_a_later_one(self) -> None:
        """Events and answers of a slow reader keep their order, and an ack's cursor is never ahead of what it got."""
        gateway = Gateway()
        slow = gateway.reader("slow", "r")
        slow.stall()
        for index in range(3):
            gateway.publish(chat("r", str(index)))
        gateway.hub.join(slow, "r")
        slow.resume()

        assert [message[0] for message in slow.messages[-4:]] == ["event", "event", "event", "joined"]


class TestResume:
    """`resume`."""

    def resume(self, gateway: Gateway, cursor: str, player: str = "back") -> Reader:
        """A new connection that resumes."""
        reader = Reader(gateway.loop, player)
        gateway.hub.join(reader, "r", cursor)
        gateway.loop.advance(JOIN_DEADLINE_S)
        return reader

    def test_brings_what_came_after_the_cursor_then_live_events(self) -> None:
        """In order, without gap or double, on this gateway or on another one; `joined.cursor` is the one that was given."""
        first, second = Gateway(), Gateway()
        second.kafka.rooms = first.kafka.rooms
        alice = first.reader("alice", "r")
        for index in range(6):
            for gateway in (first, second):
                gateway.publish(chat("r", str(index)), COMBAT if index % 2 else CHAT)
        cursors = [message[7] for message in alice.of("event")]

        for gateway in (first, second):
            back = self.resume(gateway, cursors[2])
            gateway.publish(chat("r", "live"))

            info = back.of("joined")[0][2]
            assert (info["recovered"], info["cursor"]) == (True, cursors[2])
            assert back.events("r") == ["3", "4", "5", "live"]

    def test_works_when_everyone_had_left(self) -> None:
        """The history of a room outlives its last client."""
        gateway = Gateway()
        alice = gateway.reader("alice", "r")
        cursor = alice.of("joined")[0][2]["cursor"]
        gateway.hub.drop(alice)
        gateway.publish(chat("r", "1"))

        assert self.resume(gateway, cursor).events("r") == ["1"]

    @pytest.mark.parametrize("cursor", ["", "garbage", "x" * 200, "é"])
    def test_garbage_gives_the_current_state(self, cursor: str) -> None:
        """`recovered` false, a cursor that works, no replay."""
        gateway = Gateway()
        gateway.reader("alice", "r")
        gateway.publish(chat("r", "1"))

        back = self.resume(gateway, cursor)

        info = back.of("joined")[0][2]
        assert info["recovered"] is False
        assert back.events("r") == []
        gateway.publish(chat("r", "2"))
        assert self.resume(gateway, info["cursor"], "again").events("r") == ["2"]

    def test_too_old(self) -> None:
        """`recovered` false, rather than a gap."""
        gateway = Gateway(history_events=2)
        alice = gateway.reader("alice", "r")
        for index in range(5):
            gateway.publish(chat("r", str(index)))

        back = self.resume(gateway, alice.of("event")[0][7])

        assert back.of("joined")[0][2]["recovered"] is False
        assert back.events("r") == []

    def test_waits_for_a_gateway_that_is_behind(self) -> None:
        """What the client has got elsewhere does not come again, and what follows is not missed."""
        ahead, behind = Gateway(), Gateway()
        behind.kafka.rooms = ahead.kafka.rooms
        alice = ahead.reader("alice", "r")
        for index in range(3):
            ahead.publish(chat("r", str(index)))
        cursor = alice.of("event")[1][7]
        behind.reader("other", "r")
        behind.publish(chat("r", "0"))
        back = Reader(behind.loop, "back")
        behind.hub.join(back, "r", cursor)
        assert back.messages == []

        behind.publish(chat("r", "1"))
        assert back.of("joined")[0][2]["recovered"] is True
        behind.publish(chat("r", "2"))
        assert back.events("r") == ["2"]

    def test_a_cursor_from_the_future_does_not_hold_up_for_long(self) -> None:
        """A forged cursor, or one of a topic that was made anew, gives the current state."""
        gateway = Gateway()
        gateway.reader("alice", "r")
        forged = gateway.hub.history.cursor("r", {CHAT: 1 << 40, COMBAT: 0})
        back = Reader(gateway.loop, "back")
        gateway.hub.join(back, "r", forged)
        gateway.publish(chat("r", "1"))
        assert back.messages == []

        gateway.loop.advance(JOIN_DEADLINE_S)
        assert back.of("joined")[0][2]["recovered"] is False
        assert back.events("r") == ["1"]

    def test_a_slow_reader_is_not_cut_off_by_its_replay(self) -> None:
        """The replay is paced by its reading; live events follow behind it, and cursors meanwhile are those of its place."""
        gateway = Gateway()
        alice = gateway.reader("alice", "r")
        for index in range(200):
            gateway.publish(chat("r", str(index)))
        back = Reader(gateway.loop, "back", limit_bytes=1000)
        back.stall(full=False)
        gateway.hub.join(back, "r", alice.of("joined")[0][2]["cursor"])
        gateway.publish(chat("r", "live"))
        standing = gateway.hub.cursor_for(back, "r", CHAT, 201)
        for _ in range(10):
            back.read_some(5)
        back.resume()
        gateway.loop.settle()
        gateway.publish(chat("r", "last"))

        assert back.events("r") == [*map(str, range(200)), "live", "last"]
        assert back.overflows == 0
        assert self.resume(gateway, standing, "third").events("r")[-3:] == ["199", "live", "last"]
        assert len(self.resume(gateway, standing, "fourth").events("r")) > 150


class TestAckCursor:
    """`cursor_for`."""

    def test_resumes_behind_the_own_event(self) -> None:
        """Acknowledged before it is delivered: the publisher knows it, what follows is new."""
        gateway = Gateway()
        alice = gateway.reader("alice", "r")
        cursor = gateway.hub.cursor_for(alice, "r", CHAT, 0)
        gateway.publish(chat("r", "own"))
        gateway.publish(chat("r", "next", "bob"))
        back = Reader(gateway.loop, "alice")
        gateway.hub.join(back, "r", cursor)

        assert back.events("r") == ["next"]

    def test_never_passes_an_event_that_was_not_delivered(self) -> None:
        """An event of someone else stands before the own one in Kafka, and the tail has not brought it yet."""
        gateway = Gateway()
        alice = gateway.reader("alice", "r")
        cursor = gateway.hub.cursor_for(alice, "r", CHAT, 1)
        gateway.publish(chat("r", "theirs", "bob"))
        gateway.publish(chat("r", "own"))
        back = Reader(gateway.loop, "alice")
        gateway.hub.join(back, "r", cursor)

        assert back.events("r") == ["theirs", "own"]

    def test_of_a_join_that_is_asked_again_and_has_to_wait(self) -> None:
        """Events that come while the second answer waits behind the join of another room follow it, and its cursor knows."""
        gateway = Gateway()
        alice = gateway.reader("alice", "r")
        gateway.hub.join(alice, "s")
        gateway.hub.join(alice, "r")
        gateway.publish(chat("r", "1"))
        gateway.loop.advance(JOIN_DEADLINE_S)
        assert [message[0] for message in alice.messages] == ["joined", "joined", "joined", "event"]
        cursor = alice.of("joined", "r")[1][2]["cursor"]
        back = Reader(gateway.loop, "alice")
        gateway.hub.join(back, "r", cursor)

        assert back.events("r") == ["1"]

    def test_of_a_join_that_is_asked_again_and_given_up(self) -> None:
        """Both answers, which come with the leave, stand where the first one asked to begin: nothing was sent since."""
        gateway = Gateway()
        gateway.reader("bob", "r")
        cursor = gateway.hub.history.cursor("r", gateway.hub.history.head("r"))
        gateway.publish(chat("r", "1"))
        ahead = gateway.hub.history.cursor("s", {CHAT: 1 << 40, COMBAT: 0})
        alice = Reader(gateway.loop, "alice")
        # Not answered yet, so that the joins of the other room wait behind it.
        gateway.hub.join(alice, "s", ahead)
        gateway.hub.join(alice, "r", cursor)
        gateway.hub.join(alice, "r")
        gateway.hub.leave(alice, "r")
        gateway.loop.advance(JOIN_DEADLINE_S)

        assert [info["cursor"] for _, _, info in alice.of("joined", "r")] == [cursor, cursor]

    def test_of_a_join_that_is_not_answered(self) -> None:
        """Nothing was sent to the client yet, so its place is where it asked to begin."""
        gateway = Gateway()
        alice = Reader(gateway.loop, "alice")
        gateway.hub.join(alice, "r")
        gateway.publish(chat("r", "1"))
        cursor = gateway.hub.cursor_for(alice, "r", CHAT, 1)
        gateway.hub.drop(alice)
        back = Reader(gateway.loop, "alice")
        gateway.hub.join(back, "r", cursor)
        gateway.loop.advance(JOIN_DEADLINE_S)

        assert back.events("r") == ["1"]

    def test_of_a_room_that_the_publisher_is_not_in(self) -> None:
        """A server publishes without joining: the cursor is valid for any client of the room."""
        gateway = Gateway()
        server = gateway.reader("arena", role=Role.SERVER)
        cursor = gateway.hub.cursor_for(server, "r", COMBAT, 0)
        gateway.publish(chat("r", "own", "arena"), COMBAT)
        gateway.publish(chat("r", "next"))
        back = Reader(gateway.loop, "alice")
        gateway.hub.join(back, "r", cursor)
        gateway.loop.advance(JOIN_DEADLINE_S)

        assert back.events("r") == ["next"]


class TestPresence:
    """`presence` on one gateway."""

    def test_players_only(self) -> None:
        """Who joins and leaves is told to the others at once; spectators and servers are not shown."""
        gateway = Gateway()
        alice = gateway.reader("alice", "r")
        bob = gateway.reader("bob", "r")
        gateway.reader("eye", "r", role=Role.SPECTATOR)
        gateway.reader("arena", "r", role=Role.SERVER)
        gateway.hub.leave(bob, "r")
        gateway.loop.settle()

        assert alice.of("presence") == [["presence", "r", ["bob"], []], ["presence", "r", [], ["bob"]]]
        assert bob.of("presence")[1:] == []

    def test_many_joins_at_once_are_one_message(self) -> None:
        """A reconnect of a thousand players is not a million frames."""
        gateway = Gateway()
        alice = gateway.reader("alice", "r")
        for index in range(100):
            gateway.hub.join(Reader(gateway.loop, f"p{index:02}"), "r")
        gateway.loop.settle()

        ((_, _, joined, left),) = alice.of("presence")
        assert (len(joined), left) == (100, [])

    def test_a_takeover_is_not_seen(self) -> None:
        """The old session of a player ends after the new one joined, or just before it: the player stays."""
        gateway = Gateway()
        alice = gateway.reader("alice", "r")
        old = gateway.reader("bob", "r")
        gateway.move("r", "bob")
        alice.messages.clear()
        gateway.reader("bob", "r")
        gateway.hub.drop(old, replaced=True)
        gateway.loop.advance(1)

        assert alice.of("presence") == []
        assert alice.of("tick") == []
        assert gateway.reader("carol", "r").players("r") == {"alice", "bob", "carol"}

    async def test_a_takeover_that_nobody_heard_of_is_reported(self) -> None:
        """Redis shows a newer session of a player where one of this gateway is; the others are left alone."""
        gateway = Gateway()
        gateway.reader("alice", "r")
        bob = gateway.reader("bob", "r", "s")
        await gateway.step()
        assert gateway.replaced == []
        gateway.redis.sessions["r"]["bob"] = gateway.redis.sessions["s"]["bob"] = "elsewhere"
        gateway.loop.advance(REFRESH_S)
        await gateway.step()

        assert gateway.replaced == [("bob", bob.session)]

    def test_a_refreshed_token_changes_who_is_shown(self) -> None:
        """The new role applies at once: a player that becomes a spectator is no longer there for the others."""
        gateway = Gateway()
        alice = gateway.reader("alice", "r")
        bob = gateway.reader("bob", "r")
        bob.role = Role.SPECTATOR
        gateway.hub.refresh(bob)
        gateway.loop.settle()
        assert alice.players("r") == {"alice"}

        bob.role = Role.PLAYER
        gateway.hub.refresh(bob)
        gateway.hub.refresh(bob)
        gateway.loop.settle()
        assert alice.players("r") == {"alice", "bob"}
        assert len(alice.of("presence")) == 3


class TestCensus:
    """What operators see of the clients."""

    def test_holds_every_client_with_its_rooms_and_what_it_was_refused(self) -> None:
        """Rooms with their clients, players with theirs, and how often one sent too much."""
        gateway = Gateway(tick_hz=20)
        alice = gateway.reader("alice", "r", "s")
        gateway.reader("bob", "r")
        alice.rate_limited, alice.rtt_ms = 3, 40.5

        rooms, players = gateway.hub.census()

        assert {name: room.clients for name, room in rooms.items()} == {"r": 2, "s": 1}
        assert players["alice"] == PlayerEntry(alice.session, "player", ("r", "s"), 0, 3, 40.5)
        assert (players["bob"].rate_limited, players["bob"].rtt_ms) == (0, None)
