"""Whose answer is this: every way in which real servers answer, played as bytes."""

from __future__ import annotations

import logging
import threading
from time import monotonic

import pytest

from pyami_sync import actions, events
from pyami_sync.connection.pending import PendingRequests
from pyami_sync.connection.request import BlockingRequest, FutureRequest, Request
from pyami_sync.engine.futures import DetachedFuture
from pyami_sync.exceptions import ActionError, ActionTimeout, ConnectionLost, InvalidAction, RemoteProtocolError
from pyami_sync.vocabulary.catalogue.answers import ANSWERS
from pyami_sync.vocabulary.model import ListResponse, event_class
from pyami_sync.wire.action import Action
from pyami_sync.wire.framing import Framer
from pyami_sync.wire.message import Event
from pyami_sync.wire.origin import LOCAL
from pyami_sync.wire.protocol import AMIVersion, Limits
from pyami_sync.wire.response import Response


class Wire:
    """The table of one connection with a server's half that is typed in by hand.

    ``{0}``, ``{1}`` … in what the server says stand for the ActionIDs of the calls in the order in which they
    were begun, ``{f}`` for that of the latest fence. Line ends are written as LF; a bare LF as ``␊``.
    """

    def __init__(self, version: tuple[int, ...] = (11, 0, 0), limits: Limits | None = None) -> None:
        self.table = PendingRequests("p-", limits or Limits(), event_class)
        self.table.ami_version = AMIVersion(version) if version else None
        self.calls: list[Outcome] = []
        self.fence = ""
        self.order = 0
        self.published: list[bytes] = []
        self._framer = Framer()

    def begin(self, action: Action | str, timeout: float | None = 5.0, **headers) -> Outcome:
        action = Action(action, **headers) if isinstance(action, str) else action
        key = (action.action_id or self.table.new_id()).encode()
        call = Outcome(action, key, ANSWERS.get(action.name.lower()), timeout)
        fence = self.table.add(call)
        self.order += 1
        call.order = self.order
        self.calls.append(call)
        if fence is not None:
            self.order += 1
            fence.order = self.order
            self.fence = fence.key.decode()
        return call

    def says(self, text: str) -> None:
        text = text.format(*(call.key.decode() for call in self.calls), f=self.fence)
        self.feed(text.replace("\n", "\r\n").replace("␊", "\n").encode())

    def feed(self, raw: bytes) -> None:
        frames = self._framer.feed(raw)
        if frames:
            self.published += self.table.feed(frames, self._framer.range, LOCAL)
            for call in self.table.answered:
                call.wake()
            self.table.answered = []


class Outcome(BlockingRequest):
    """A call that remembers how often it was settled."""

    __slots__ = ("resolved",)

    def __init__(self, *args) -> None:
        super().__init__(*args)
        self.resolved = 0

    @property
    def outcome(self):
        return BlockingRequest.outcome.__get__(self)

    @outcome.setter
    def outcome(self, result):
        BlockingRequest.outcome.__set__(self, result)
        if result is not None:
            self.resolved += 1
            assert self.resolved == 1, "a call has one outcome"

    @property
    def done(self) -> bool:
        return self.resolved == 1

    def result(self) -> Response:
        assert self.wait(False), "still under way"
        self._done.release()
        outcome = self.outcome
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def error(self, cls=ActionError):
        with pytest.raises(cls) as caught:
            self.result()
        return caught.value


@pytest.fixture
def wire():
    return Wire()


def names(response: Response) -> list[str]:
    return [item.name for item in response.events]


START = "Response: Success\nActionID: {0}\nEventList: start\nMessage: A list follows\n\n"
SUCCESS = "Response: Success\nActionID: {0}\n\n"


class TestOneResponse:
    def test_by_action_id(self, wire):
        first, second = wire.begin("Ping"), wire.begin("Ping")
        wire.says("Response: Success\nActionID: {1}\nPing: Pong\n\n")
        assert second.result()["Ping"] == "Pong"
        assert not first.done
        wire.says(SUCCESS)
        assert first.result().ok
        assert len(wire.table) == 0

    def test_an_error(self, wire):
        call = wire.begin("Hangup", Channel="x")
        wire.says("Response: Error\nActionID: {0}\nMessage: No such channel\n\n")
        assert call.error().action == "Hangup"
        assert call.error().response.message == "No such channel"

    @pytest.mark.parametrize("spelled", ["actionid:{0}", "ACTIONID: {0}", "ActionID: {0}"])
    def test_the_header_s_case_does_not_matter(self, wire, spelled):
        call = wire.begin("Ping")
        wire.says(f"response: Success\n{spelled}\n\n")
        assert call.done

    def test_blanks_behind_the_id_are_part_of_it(self, wire, caplog):
        call = wire.begin("Ping")
        wire.says("Response: Success\nActionID: {0} \n\n")
        assert not call.done

    def test_unasked_and_late_responses_are_dropped_with_a_debug_line(self, wire, caplog):
        caplog.set_level(logging.DEBUG)
        call = wire.begin("Ping")
        assert wire.table.remove(call)
        wire.says(SUCCESS + "Response: Success\nActionID: foreign\n\n")
        assert not call.done
        assert caplog.text.count("late or unasked") == 2

    def test_a_late_answer_goes_to_no_other_call(self, wire):
        late = wire.begin("Ping")
        wire.table.remove(late)
        other = wire.begin("Ping")
        wire.says(SUCCESS)
        assert not other.done

    def test_late_answers_are_told_apart_in_the_order_of_asking(self, wire):
        first = wire.begin("Ping", ActionID="one")
        second = wire.begin("Ping", ActionID="two")
        wire.table.give_up(second)  # before the other, though it was sent behind it
        wire.table.give_up(first)
        again, other = wire.begin("Ping", ActionID="one"), wire.begin("Ping", ActionID="two")
        wire.says("Response: Success\nActionID: one\nOf: first\n\n")
        wire.says("Response: Success\nActionID: two\nOf: second\n\n")
        assert not again.done
        assert not other.done
        wire.says("Response: Success\nActionID: one\nOf: again\n\nResponse: Success\nActionID: two\nOf: other\n\n")
        assert [again.result()["Of"], other.result()["Of"]] == ["again", "other"]

    def test_an_answer_without_id_in_the_moment_of_giving_up(self, wire, monkeypatch):
        late, other = wire.begin("Ping"), wire.begin("Ping")
        remove = wire.table.remove

        def remove_and_receive(request):
            removed = remove(request)
            monkeypatch.undo()
            wire.says("Response: Success\nOf: late\n\n")
            return removed

        monkeypatch.setattr(wire.table, "remove", remove_and_receive)
        assert wire.table.give_up(late)
        assert not other.done

    def test_giving_up_what_is_answered_expects_no_late_answer(self, wire):
        call = wire.begin("Ping")
        call.claims.pop()  # whoever has claimed it has yet to take it out
        assert not wire.table.give_up(call)
        wire.table.table.clear()
        other = wire.begin("Ping")
        wire.says("Response: Success\nOf: other\n\n")
        assert other.done

    def test_a_later_answer_ends_the_waiting_for_late_ones(self, wire):
        late, early = wire.begin("Ping", ActionID="one"), wire.begin("Ping")
        wire.table.give_up(late)
        again = wire.begin("Ping", ActionID="one")
        last = wire.begin("Ping")
        wire.says("Response: Success\nActionID: {3}\n\nResponse: Success\nActionID: one\n\n")
        assert last.done
        assert again.done
        assert not early.done

    def test_without_any_id_it_is_that_of_the_only_call(self, wire):
        call = wire.begin("Ping")
        wire.says("Response: Success\nPing: Pong\n\n")
        assert call.done

    def test_without_any_id_and_two_calls_it_is_nobodys(self, wire):
        first, second = wire.begin("Ping"), wire.begin("Ping")
        wire.says("Response: Success\n\n")
        assert not first.done
        assert not second.done

    def test_a_fence_does_not_make_it_doubtful(self, wire):
        call = wire.begin("Events", EventMask="on")
        wire.says("Response: Events On\n\nResponse: Success\nActionID: {f}\nPing: Pong\n\n")
        assert call.result().status == "Events On"

    def test_the_complaint_about_a_blank_line_is_nobodys(self, wire):
        call = wire.begin("Ping")
        wire.says("Response: Error\nMessage: Missing action in request\n\n")
        assert not call.done

    def test_the_answer_has_the_action_s_type(self, wire):
        call = wire.begin(actions.CoreShowChannels())
        wire.says(START + "Event: CoreShowChannelsComplete\nActionID: {0}\nEventList: Complete\n\n")
        assert type(call.result()) is ListResponse
        assert type(call.result().complete) is events.CoreShowChannelsComplete

    def test_a_second_response_is_dropped(self, wire):
        # JabberSend, ModuleLoad, PRIDebugSet answer more than once.
        call = wire.begin("JabberSend")
        wire.says("Response: Success\nActionID: {0}\nMessage: attempting\n\n")
        wire.says("Response: Error\nActionID: {0}\nMessage: failed\n\n" * 3)
        assert call.result().message == "attempting"

    def test_several_errors(self, wire):
        call = wire.begin("ModuleLoad")
        wire.says("Response: Error\nActionID: {0}\nMessage: first\n\n" * 3)
        assert call.error().response.message == "first"

    @pytest.mark.promise(4)
    def test_command_of_today(self, wire):
        call = wire.begin("Command", Command="core show uptime")
        wire.says(
            "Response: Success\nActionID: {0}\nMessage: Command output follows\nOutput: a\nOutput: \nOutput:   b\n\n"
        )
        assert call.result().output == ["a", "", "  b"]

    def test_command_that_fails(self, wire):
        call = wire.begin("Command", Command="nonsense")
        wire.says("Response: Error\nActionID: {0}\nMessage: Command output follows\nOutput: No such command\n\n")
        assert call.error().response.output == ["No such command"]

    @pytest.mark.promise(4)
    def test_command_of_old(self, wire):
        call = wire.begin("Command", Command="core show help")
        wire.says("Response: Follows\nPrivilege: Command\nActionID: {0}\na␊␊Event: x\n\nb--END COMMAND--\n\n")
        assert call.result().output == ["a", "", "Event: x", "", "b"]
        assert wire.published == []

    def test_a_goodbye(self, wire):
        call = wire.begin("Logoff")
        wire.says("Response: Goodbye\nActionID: {0}\nMessage: Thanks for all the fish.\n\n")
        assert call.result().status == "Goodbye"


# Every list of the protocol page: its item, how an empty one shows.
LISTS = {name: rule for name, rule in ANSWERS.items() if rule.shape == "list"}


@pytest.mark.promise(4)
class TestLists:
    @pytest.mark.parametrize("name", sorted(name for name, rule in LISTS.items() if not rule.glued))
    def test_each_is_collected_whole(self, wire, name):
        rule = LISTS[name]
        call = wire.begin(name)
        item_id = "" if rule.items_without_id else "\nActionID: {0}"
        wire.says(START)
        wanted = sorted(rule.items) * 2
        for item in wanted:
            assert not call.done
            wire.says(f"Event: {item}{item_id}\nX: 1\n\n")
        wire.says(f"Event: {rule.complete}\nActionID: {{0}}\nEventList: Complete\nListItems: 99\n\n")
        response = call.result()
        assert names(response) == wanted
        assert response.complete.name == rule.complete
        assert response.message == "A list follows"

    @pytest.mark.parametrize("name", sorted(LISTS))
    def test_each_may_be_empty(self, wire, name):
        call = wire.begin(name)
        wire.says(START + f"Event: {LISTS[name].complete}\nActionID: {{0}}\nEventList: Complete\nListItems: 0\n\n")
        assert call.result().events == []
        assert call.result().complete is not None

    @pytest.mark.parametrize("name", sorted(LISTS))
    def test_a_success_that_announces_no_list_is_the_whole_answer(self, wire, name):
        # As VoicemailUserStatus of an unknown user, or Hangup of one channel.
        call = wire.begin(name)
        wire.says(SUCCESS)
        assert call.result().events == []
        assert call.result().complete is None

    @pytest.mark.parametrize("name", sorted(name for name, rule in LISTS.items() if rule.unmarked))
    @pytest.mark.parametrize("version", [(1, 1), (1, 3), (2, 5, 0), (2, 6, 0)])
    def test_before_13_2_they_are_not_announced(self, name, version):
        wire, rule = Wire(version), LISTS[name]
        call = wire.begin(name)
        wire.says("Response: Success\nActionID: {0}\nMessage: it will follow\n\n")
        assert not call.done
        item = min(rule.items)
        wire.says(f"Event: {item}\nActionID: {{0}}\n\nEvent: {rule.complete}\nActionID: {{0}}\n\n")
        assert names(call.result()) == [item]

    @pytest.mark.parametrize("name", sorted(name for name, rule in LISTS.items() if not rule.unmarked))
    def test_those_that_were_announced_even_then(self, name):
        wire = Wire((1, 1))
        call = wire.begin(name)
        wire.says(SUCCESS)
        assert call.done

    def test_of_an_unknown_version_only_what_is_announced(self):
        wire = Wire(())
        call = wire.begin("QueueStatus")
        wire.says(SUCCESS)
        assert call.done

    @pytest.mark.parametrize(
        ("name", "text"),
        [(name, text) for name, rule in sorted(LISTS.items()) for text in rule.empty],
    )
    def test_errors_that_mean_empty(self, wire, name, text):
        call = wire.begin(name)
        wire.says(f"Response: Error\nActionID: {{0}}\nMessage: {text.upper()}.␊\n\n")
        response = call.result()
        assert response.ok
        assert response.events == []
        assert response.status == "Error"

    def test_other_errors_of_lists_are_errors(self, wire):
        call = wire.begin("PJSIPShowEndpoints")
        wire.says("Response: Error\nActionID: {0}\nMessage: Permission denied\n\n")
        assert call.error()

    def test_an_error_that_means_empty_elsewhere_is_an_error(self, wire):
        call = wire.begin("PJSIPShowEndpoint")
        wire.says("Response: Error\nActionID: {0}\nMessage: No endpoints found\n\n")
        assert call.error()

    @pytest.mark.parametrize("start", ["start", "Start", "START", "start "])
    def test_fax_sessions_shout(self, wire, start):
        call = wire.begin("FAXSessions")
        wire.says(f"Response: Success\nActionID: {{0}}\nEventList: {start}\n\n")
        assert not call.done
        wire.says(
            "Event: FAXSessionsEntry\nActionID: {0}\nChannel: x\n\n"
            "Event: FAXSessionsComplete\nActionID: {0}\nEventList: Complete\nListItems: 1\nTotal: 1\n\n"
        )
        assert names(call.result()) == ["FAXSessionsEntry"]
        assert call.result().complete["Total"] == "1"

    def test_an_unknown_list_action(self, wire):
        call = wire.begin("NewInAsterisk30")
        wire.says(START)
        wire.says(
            "Event: Thing\nActionID: {0}\nN: 1\n\nEvent: Thing\nActionID: {0}\nN: 2\n\nEvent: Other\nActionID: {0}\n\n"
        )
        wire.says("Event: ThingsAreDone\nActionID: {0}\nEventList: complete\n\n")
        assert names(call.result()) == ["Thing", "Thing", "Other"]
        assert call.result().complete.name == "ThingsAreDone"

    def test_a_list_may_be_cancelled(self, wire):
        call = wire.begin("NewInAsterisk30")
        wire.says(START + "Event: ListEnd\nActionID: {0}\nEventList: Cancelled\n\n")
        assert call.result().complete.name == "ListEnd"

    def test_an_error_after_the_start_ends_it_and_keeps_the_items(self, wire):
        call = wire.begin("PJSIPShowEndpoint")
        wire.says(START + "Event: EndpointDetail\nActionID: {0}\n\n")
        wire.says("Response: Error\nActionID: {0}\nMessage: Unable to format\n\n")
        exc = call.error()
        assert [item.name for item in exc.partial] == ["EndpointDetail"]
        assert exc.response.events == exc.partial
        wire.says("Event: EndpointDetailComplete\nActionID: {0}\nEventList: Complete\n\n")  # comes all the same

    def test_an_error_after_the_start_and_no_completion(self, wire):
        call = wire.begin("CoreShowChannelMap")
        wire.says(START + "Response: Error\nActionID: {0}\nMessage: Could not get bridge␊\n\n")
        assert call.error().response.message == "Could not get bridge"

    @pytest.mark.parametrize("action", ["SIPpeers", "ListOfTheFuture"])
    def test_a_second_success_after_the_start_ends_nothing(self, wire, action):
        call = wire.begin(action)
        wire.says(START + SUCCESS)
        assert not call.done
        wire.says("Event: PeerlistComplete\nActionID: {0}\nEventList: Complete\n\n")
        assert call.done

    def test_the_list_start_may_come_with_the_first_item_in_one_read(self, wire):
        call = wire.begin("ShowDialPlan")
        wire.says(
            START + "Event: ListDialplan\nActionID: {0}\n\n" * 3 + "Event: ShowDialPlanComplete\nActionID: {0}\n\n"
        )
        assert len(call.result().events) == 3

    def test_items_carry_privileges_in_some_lists(self, wire):
        call = wire.begin("Status")
        wire.says(START + "Event: Status\nPrivilege: Request\nActionID: {0}\n\n" * 2)
        wire.says("Event: StatusComplete\nActionID: {0}\nEventList: Complete\nItems: 2\n\n")
        assert len(call.result().events) == 2

    def test_mixed_items_in_order(self, wire):
        call = wire.begin("QueueStatus")
        wire.says(START)
        for name in ("QueueParams", "QueueMember", "QueueEntry", "QueueParams"):
            wire.says(f"Event: {name}\nActionID: {{0}}\n\n")
        wire.says("Event: QueueStatusComplete\nActionID: {0}\nEventList: Complete\nListItems: 3\n\n")
        assert names(call.result()) == ["QueueParams", "QueueMember", "QueueEntry", "QueueParams"]
        assert type(call.result().events[1]) is events.QueueMember

    def test_live_events_of_the_items_name_are_no_items(self, wire):
        call = wire.begin("DeviceStateList")
        wire.says(START)
        live = "Event: DeviceStateChange\nPrivilege: call,all\nDevice: live\n\n"
        wire.says(live + "Event: DeviceStateChange\nActionID: {0}\nDevice: item\n\n" + live)
        wire.says("Event: DeviceStateListComplete\nActionID: {0}\nEventList: Complete\n\n")
        assert [item["Device"] for item in call.result().events] == ["item"]
        assert len(wire.published) == 4

    def test_every_event_is_published_too(self, wire):
        wire.begin("QueueSummary")
        wire.says(START + "Event: QueueSummary\nActionID: {0}\n\nEvent: QueueSummaryComplete\nActionID: {0}\n\n")
        assert [frame.split(b"\r\n")[0] for frame in wire.published] == [
            b"Event: QueueSummary",
            b"Event: QueueSummaryComplete",
        ]

    def test_lists_of_two_calls_do_not_mix(self, wire):
        one, two = wire.begin("CoreShowChannels"), wire.begin("QueueSummary")
        wire.says(START + START.replace("{0}", "{1}"))
        for n in (0, 1, 1, 0, 1):
            wire.says(f"Event: Item{n}\nActionID: {{{n}}}\n\n")
        wire.says("Event: AComplete\nActionID: {1}\nEventList: Complete\n\n")
        wire.says("Event: BComplete\nActionID: {0}\nEventList: Complete\n\n")
        assert names(one.result()) == ["Item0", "Item0"]
        assert names(two.result()) == ["Item1", "Item1", "Item1"]

    @pytest.mark.promise(16)
    def test_too_many_items(self):
        wire = Wire(limits=Limits(list_items=3))
        call = wire.begin("CoreShowChannels")
        wire.says(START + "Event: CoreShowChannel\nActionID: {0}\n\n" * 4)
        assert "passed 3 items" in str(call.error(RemoteProtocolError))

    def test_an_item_whose_only_line_is_its_name(self, wire):
        call = wire.begin("IAXpeers")
        wire.says(START + "Event: PeerEntry\n\nEvent: Hangup\n\nEvent: PeerlistComplete\nActionID: {0}\n\n")
        assert len(call.result().events) == 1

    def test_other_spellings_of_an_event(self, wire):
        call = wire.begin("CoreShowChannels")
        wire.says(START + "event: CoreShowChannel\nActionID: {0}\n\n")
        wire.says("EVENT:coreshowchannelscomplete\nActionID: {0}\n\n")
        assert call.done


class TestLongLists:
    """Items behind the first ones of a list take a quicker way, which must end where the list does."""

    START = "Response: Success\nActionID: {0}\nEventList: start\n\n"

    def test_all_items_in_order_beside_other_events(self):
        wire = Wire()
        call = wire.begin("CoreShowChannels")
        item = (
            "Event: CoreShowChannel\nActionID: {{0}}\nChannel: {}\n\nEvent: Newchannel\nPrivilege: a\nChannel: {}\n\n"
        )
        wire.says(self.START + "".join(item.format(n, n) for n in range(50)))
        wire.says("".join(item.format(n, n) for n in range(50, 100)))
        wire.says("Event: CoreShowChannelsComplete\nActionID: {0}\nEventList: Complete\n\n")
        assert [event["Channel"] for event in call.result().events] == [str(n) for n in range(100)]
        assert {type(event) for event in call.result().events} == {events.CoreShowChannel}
        assert {event.name for event in call.result().events} == {"CoreShowChannel"}
        assert len(wire.published) == 201

    def test_two_lists_mixed(self):
        wire = Wire()
        one, two = wire.begin("CoreShowChannels"), wire.begin("CoreShowChannels")
        wire.says(self.START + self.START.replace("{0}", "{1}"))
        for n in range(20):
            wire.says(f"Event: CoreShowChannel\nActionID: {{{n % 2}}}\nChannel: {n}\n\n")
        for n in (0, 1):
            wire.says(f"Event: CoreShowChannelsComplete\nActionID: {{{n}}}\nEventList: Complete\n\n")
        assert [event["Channel"] for event in one.result().events] == [str(n) for n in range(0, 20, 2)]
        assert [event["Channel"] for event in two.result().events] == [str(n) for n in range(1, 20, 2)]

    def test_limit(self):
        wire = Wire(limits=Limits(list_items=10))
        call = wire.begin("CoreShowChannels")
        wire.says(self.START + "Event: CoreShowChannel\nActionID: {0}\n\n" * 11)
        assert "passed 10 items" in str(call.error(RemoteProtocolError))

    def test_given_up_in_its_midst_and_forgotten(self):
        wire = Wire()
        call = wire.begin("CoreShowChannels")
        wire.says(self.START + "Event: CoreShowChannel\nActionID: {0}\n\n" * 5)
        other = wire.begin("CoreShowChannels")
        wire.says(self.START.replace("{0}", "{1}"))
        wire.table.expire(call)
        assert len(call.error(ActionTimeout).partial) == 5
        wire.says("Event: CoreShowChannel\nActionID: {0}\n\n" * 5)
        wire.says("Event: CoreShowChannel\nActionID: {0}\n\n" * 5)
        assert len(call.items) == 5
        assert not other.items

    def test_long_output_is_not_taken_apart(self):
        wire = Wire()
        call = wire.begin("Command", Command="x")
        lines = "".join(f"Output: line {n}\n" for n in range(5_000))
        wire.says("Response: Success\nActionID: {0}\nMessage: Command output follows\n" + lines + "\n")
        response = call.result()
        assert not hasattr(response, "_index"), "no index was made on the thread that serves everybody"
        assert response.output == [f"line {n}" for n in range(5_000)]


@pytest.mark.promise(4)
class TestIrregularLists:
    def test_agents_with_a_bare_line_feed(self, wire):
        call = wire.begin("Agents")
        wire.says(START + "Event: Agents\nActionID: {0}\nAgent: 1\nCallStarted: 17␊LoggedInTime: 12\n\n")
        wire.says("Event: AgentsComplete\nActionID: {0}\nEventList: Complete\n\n")
        [agent] = call.result().events
        assert (agent["CallStarted"], agent["LoggedInTime"]) == ("17", "12")

    def test_iaxpeers_whose_items_have_no_id(self, wire):
        call, ping = wire.begin("IAXpeers"), wire.begin("Ping")
        item = "Event: PeerEntry\nChanneltype: IAX2\nObjectName: p{n}\n\n"
        wire.says("Event: PeerEntry\nObjectName: before\n\n")  # nobody's
        wire.says(START)
        wire.says(item.replace("{n}", "1"))
        wire.says("Event: PeerEntry\nPrivilege: system,all\nObjectName: live\n\nEvent: Hangup\nPrivilege: x\n\n")
        wire.says("Event: PeerEntry\nActionID: foreign\nObjectName: other\n\n")
        wire.says("Event: PeerlistComplete\nActionID: foreign\nEventList: Complete\n\n")
        assert not call.done
        wire.says(item.replace("{n}", "2"))
        wire.says("Event: PeerlistComplete\nActionID: {0}\nEventList: Complete\nListItems: 2\n\n")
        assert [event["ObjectName"] for event in call.result().events] == ["p1", "p2"]
        wire.says(item.replace("{n}", "3") + "Response: Success\nActionID: {1}\n\n")
        assert ping.done
        assert len(call.result().events) == 2

    def test_two_of_them_one_after_the_other(self, wire):
        one, two = wire.begin("IAXpeers"), wire.begin("IAXpeers")
        for n in "01":
            wire.says(START.replace("0", n) + f"Event: PeerEntry\nObjectName: {n}\n\n")
            wire.says(f"Event: PeerlistComplete\nActionID: {{{n}}}\nEventList: Complete\n\n")
        assert [one.result().events[0]["ObjectName"], two.result().events[0]["ObjectName"]] == ["0", "1"]

    def test_items_without_id_after_their_caller_gave_up(self, wire):
        call = wire.begin("IAXpeers")
        wire.says(START)
        wire.table.expire(call)
        wire.says("Event: PeerEntry\nObjectName: 1\n\nEvent: PeerlistComplete\nActionID: {0}\nEventList: Complete\n\n")
        assert call.error(ActionTimeout).partial == []

    @pytest.mark.parametrize(
        ("name", "item", "complete"),
        [("SKINNYdevices", "DeviceEntry", "DevicelistComplete"), ("SKINNYlines", "LineEntry", "LinelistComplete")],
    )
    def test_skinny_lists_in_one_message(self, wire, name, item, complete):
        call = wire.begin(name)
        wire.says(
            START + f"Event: {item}\nActionID: {{0}}\nDevicename: a\nEvent: {item}\nActionID: {{0}}\nDevicename: b\n"
            f"Event: {complete}\nActionID: {{0}}\nEventList: Complete\nListItems: 2\n\n"
        )
        assert [each["Devicename"] for each in call.result().events] == ["a", "b"]
        assert call.result().complete["ListItems"] == "2"

    @pytest.mark.parametrize("regex", [True, False])
    def test_hangup_of_one_channel_and_of_many(self, wire, regex):
        call = wire.begin("Hangup", Channel="/^Local/" if regex else "Local/1")
        if regex:
            wire.says(START + "Event: ChannelHungup\nActionID: {0}\nChannel: a\n\n")
            wire.says("Event: ChannelsHungupListComplete\nActionID: {0}\nEventList: Complete\n\n")
            assert names(call.result()) == ["ChannelHungup"]
        else:
            wire.says("Response: Success\nActionID: {0}\nMessage: Channel Hungup\n\n")
            assert call.result().events == []


FENCED = "Response: Success\nActionID: {f}\nPing: Pong\n\n"


@pytest.mark.promise(4)
class TestEventsInPlaceOfLists:
    def test_fax_stats(self, wire):
        call = wire.begin("FAXStats")
        wire.says(SUCCESS)
        assert not call.done
        wire.says("Event: FAXStats\nActionID: {0}\nCurrentSessions: 0\n\n")
        assert call.result().events[0]["CurrentSessions"] == "0"
        assert call.result().complete is None

    def test_fax_session(self, wire):
        call = wire.begin("FAXSession", SessionNumber="1")
        wire.says(SUCCESS + "Event: FAXSession\nActionID: {0}\nSessionNumber: 1\n\n" + FENCED)
        assert names(call.result()) == ["FAXSession"]

    def test_fax_session_that_never_comes(self, wire):
        call = wire.begin("FAXSession", SessionNumber="1")
        wire.says(SUCCESS)
        assert not call.done
        wire.says(FENCED)
        assert call.result().events == []
        assert call.result().ok

    def test_fax_session_refused(self, wire):
        call = wire.begin("FAXSession")
        wire.says("Response: Error\nActionID: {0}\nMessage: Channel not in a fax session\n\n" + FENCED)
        assert call.error()

    def test_data_get_has_no_response(self):
        wire = Wire((1, 3))
        call = wire.begin("DataGet", Path="/")
        wire.says("Event: DataGet Tree\nActionID: {0}\npath: x\n\n")
        assert call.result().ok
        assert call.result().events[0].name == "DataGet Tree"

    def test_data_get_refused(self):
        wire = Wire((1, 3))
        call = wire.begin("DataGet")
        wire.says("Response: Error\nActionID: {0}\nMessage: Path missing\n\n")
        assert call.error()
        assert not wire.table._collecting


@pytest.mark.promise(4)
class TestTextAnswers:
    def test_iaxnetstats_with_calls(self, wire):
        call = wire.begin("IAXnetstats")
        wire.says("IAX2/peer-1   10  -1\nIAX2/peer-2   11  -1\n\n" + FENCED)
        assert call.result().output == ["IAX2/peer-1   10  -1", "IAX2/peer-2   11  -1"]
        assert call.result().ok

    def test_iaxnetstats_without(self, wire):
        call = wire.begin("IAXnetstats")
        wire.says("\n")
        assert not call.done
        wire.says(FENCED)
        assert call.result().output == []

    def test_iaxnetstats_whose_end_is_cut_short(self, wire):
        # Its table ends in LF CR LF: the message behind it is glued to it.
        call, ping = wire.begin("IAXnetstats"), wire.begin("Ping")
        wire.says("IAX2/peer-1   10␊\nResponse: Success\nActionID: {1}\n\n" + FENCED)
        assert call.result().output == ["IAX2/peer-1   10"]
        assert ping.done

    def test_queues_of_old(self):
        wire = Wire((1, 1))
        call = wire.begin("Queues")
        wire.says("support has 0 calls (max unlimited)\n   No Members\n\n")
        wire.says("sales has 1 calls\n\n\n\n" + FENCED)
        assert call.result().output == ["support has 0 calls (max unlimited)", "   No Members", "", "sales has 1 calls"]

    @pytest.mark.parametrize("name", ["SKINNYshowdevice", "SKINNYshowline"])
    def test_headers_without_a_response(self, wire, name):
        call = wire.begin(name)
        wire.says("Channeltype: SKINNY\nName: x\n  Addon: y\n\n\n" + FENCED)
        assert call.result()["Name"] == "x"
        assert call.result().ok

    def test_refused(self, wire):
        call = wire.begin("IAXnetstats")
        wire.says("Response: Error\nActionID: {0}\nMessage: Permission denied\n\n" + FENCED)
        assert call.error()
        assert len(wire.table) == 0

    def test_sip_qualify_peer_of_old_says_nothing(self):
        wire = Wire((1, 1))
        call = wire.begin("SIPqualifypeer", Peer="x")
        wire.says("\n\n" + FENCED)
        assert call.result().ok

    def test_events_that_says_nothing(self, wire):
        call = wire.begin("Events", EventMask="on")
        wire.says(FENCED)
        assert call.result().ok

    def test_two_of_them_one_behind_the_other(self, wire):
        one = wire.begin("IAXnetstats")
        fence = FENCED.format(f=wire.fence)
        two = wire.begin("IAXnetstats")
        wire.says("first\n\n" + fence + "second\n\n" + FENCED)
        assert (one.result().output, two.result().output) == (["first"], ["second"])

    def test_text_that_nobody_asked_for(self, wire, caplog):
        caplog.set_level(logging.DEBUG)
        call = wire.begin("Ping")
        wire.says("some text\nSecret: hunter2\n\n")
        assert not call.done
        assert "neither event nor response" in caplog.text
        assert "hunter2" not in caplog.text
        assert wire.published == []


class TestWaitEvent:
    def test_whatever_happens_in_its_window(self, wire):
        call = wire.begin("WaitEvent", Timeout="1")
        wire.says("Event: Before\n\n" + SUCCESS)
        wire.says("Event: Hangup\nPrivilege: call,all\n\nEvent: UserEvent\nPrivilege: user,all\nActionID: foreign\n\n")
        wire.says("Event: WaitEventComplete\nActionID: {0}\n\nEvent: After\n\n")
        assert names(call.result()) == ["Hangup", "UserEvent"]
        assert type(call.result().events[0]) is events.Hangup
        assert len(wire.published) == 5

    def test_nothing_happens(self, wire):
        call = wire.begin("WaitEvent")
        wire.says(SUCCESS + "Event: WaitEventComplete\nActionID: {0}\n\n")
        assert call.result().events == []
        assert call.result().complete.name == "WaitEventComplete"

    def test_old_versions_do_the_same(self):
        wire = Wire((1, 1))
        call = wire.begin("WaitEvent")
        wire.says(SUCCESS + "Event: A\n\nEvent: WaitEventComplete\nActionID: {0}\n\n")
        assert names(call.result()) == ["A"]


@pytest.mark.promise(5)
class TestEventsThatLookLikeAnswers:
    def test_originate_response_is_an_event(self, wire):
        call = wire.begin("Originate", Channel="x")
        event = "Event: OriginateResponse\nPrivilege: call,all\nActionID: {0}\nResponse: Failure\nReason: 5\n\n"
        wire.says(event)
        assert not call.done
        wire.says(SUCCESS + event)
        assert call.result().ok
        assert len(wire.published) == 2

    def test_user_events_that_repeat_our_id(self, wire):
        ping, listing = wire.begin("Ping"), wire.begin("CoreShowChannels")
        wire.says("Response: Success\nActionID: {1}\nEventList: start\n\n")
        forged = "Event: UserEvent\nPrivilege: user,all\nActionID: {%d}\nResponse: Success\nEventList: %s\n\n"
        wire.says(forged % (0, "x") + forged % (1, "x") * 2)
        assert not ping.done
        assert not listing.done
        wire.says("Event: CoreShowChannelsComplete\nActionID: {1}\nEventList: Complete\n\n")
        assert listing.result().events == []

    def test_line_feeds_forge_nothing(self, wire):
        call = wire.begin("Ping")
        wire.says("Event: Newexten\nAppData: x␊Response: Success␊ActionID: {0}␊␊\n\n")
        assert not call.done

    def test_challenge_response_failed(self, wire):
        call = wire.begin("Ping")
        wire.says("Event: ChallengeResponseFailed\nResponse: abc\nActionID: {0}\n\n")
        assert not call.done


class TestEndings:
    def test_a_duplicate_action_id(self, wire):
        wire.begin("Ping", ActionID="mine")
        with pytest.raises(InvalidAction, match="'mine' is under way"):
            wire.begin("Status", ActionID="mine")
        assert len(wire.table) == 1
        wire.says("Response: Success\nActionID: mine\n\n")
        wire.begin("Ping", ActionID="mine")

    @pytest.mark.promise(2)
    def test_ids_are_never_used_twice(self, wire):
        made = {wire.table.new_id() for _ in range(1000)}
        assert len(made) == 1000
        assert all(each.startswith("p-") for each in made)

    def test_expiring(self, wire):
        call = wire.begin("Ping", timeout=2.0)
        wire.table.expire(call)
        exc = call.error(ActionTimeout)
        assert (exc.action, exc.timeout, exc.sent) == ("Ping", 2.0, True)
        wire.table.expire(call)  # once is enough
        assert call.given_up

    def test_expiring_in_mid_list_keeps_what_had_come(self, wire):
        call = wire.begin("CoreShowChannels")
        wire.says(START + "Event: CoreShowChannel\nActionID: {0}\n\n" * 3)
        wire.table.expire(call)
        assert len(call.error(ActionTimeout).partial) == 3
        wire.says("Event: CoreShowChannel\nActionID: {0}\n\nEvent: CoreShowChannelsComplete\nActionID: {0}\n\n")
        assert len(call.error(ActionTimeout).partial) == 3
        assert not wire.table._collecting

    def test_one_that_was_not_sent(self, wire):
        call = wire.begin("Ping")
        call.order = 0
        wire.table.expire(call)
        assert call.error(ActionTimeout).sent is False

    def test_the_end_of_the_connection(self, wire):
        ping, listing, unsent = wire.begin("Ping"), wire.begin("CoreShowChannels"), wire.begin("Ping")
        unsent.order = 0
        wire.says("Response: Success\nActionID: {1}\nEventList: start\n\nEvent: CoreShowChannel\nActionID: {1}\n\n")
        cause = OSError("reset")
        wire.table.fail_all("reset by peer", cause)
        assert ping.error(ConnectionLost).__cause__ is cause
        assert len(listing.error(ConnectionLost).partial) == 1
        assert (ping.error(ConnectionLost).sent, unsent.error(ConnectionLost).sent) == (True, False)
        assert unsent.given_up  # so that no writer that is at it sends what was reported as not sent
        assert len(wire.table) == 0
        assert len({id(call.error(ConnectionLost)) for call in (ping, listing, unsent)}) == 3

    def test_the_end_of_a_fenced_call(self, wire):
        call = wire.begin("IAXnetstats")
        wire.table.fail_all("reset", None)
        assert call.error(ConnectionLost)
        assert len(wire.table) == 0

    def test_removing(self, wire):
        call = wire.begin("Ping", ActionID="mine")
        assert wire.table.remove(call)
        assert not wire.table.remove(call)
        other = wire.begin("Ping", ActionID="mine")
        assert not wire.table.remove(call)  # the id is another call's now
        assert wire.table.requests() == [other]

    def test_exactly_one_outcome_whoever_comes_first(self):
        # The table hands a call to one of three that end it at the same moment; settle() asserts it is one.
        for _ in range(200):
            wire = Wire()
            call = wire.begin("Ping")
            start = threading.Barrier(3)
            enders = [
                lambda w=wire: w.says(SUCCESS),
                lambda w=wire, c=call: w.table.expire(c),
                lambda w=wire: w.table.fail_all("reset", None),
            ]
            failures = []

            def run(end, start=start, failures=failures):
                start.wait()
                try:
                    end()
                except BaseException as exc:
                    failures.append(exc)

            threads = [threading.Thread(target=run, args=(end,)) for end in enders]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert not failures
            assert call.done
            assert len(wire.table) == 0


class TestFutureRequests:
    @pytest.fixture
    def begin(self, wire):
        def begin(name="Ping", check=True):
            future = DetachedFuture(lambda job: job())
            action = Action(name)
            call = FutureRequest(
                action, wire.table.new_id().encode(), ANSWERS.get(name.lower()), 5.0, monotonic(), future, check
            )
            wire.calls.append(call)
            wire.table.add(call)
            return call, future

        return begin

    def test_the_answer(self, wire, begin):
        _, future = begin()
        wire.says(SUCCESS)
        assert future.result(0).ok

    def test_its_timer_is_cancelled(self, wire, begin):
        class Timer:
            cancelled = False

            def cancel(self):
                self.cancelled = True

        call, _ = begin()
        call.timer = Timer()
        wire.says(SUCCESS)
        assert call.timer.cancelled

    def test_an_error(self, wire, begin):
        _, future = begin()
        wire.says("Response: Error\nActionID: {0}\n\n")
        with pytest.raises(ActionError):
            future.result(0)

    def test_an_error_that_is_wanted_as_an_answer(self, wire, begin):
        _, future = begin(check=False)
        wire.says("Response: Error\nActionID: {0}\nMessage: no\n\n")
        assert future.result(0).message == "no"

    def test_a_cancelled_one_takes_no_answer(self, wire, begin):
        call, future = begin()
        assert future.cancel()
        wire.says(SUCCESS)
        assert future.cancelled()
        assert call not in wire.table.requests()

    def test_expiring(self, wire, begin):
        call, future = begin()
        wire.table.expire(call)
        with pytest.raises(ActionTimeout):
            future.result(0)

    def test_the_base_class_knows_no_outcome(self):
        with pytest.raises(NotImplementedError):
            Request(Action("Ping"), b"1", None, None).resolve(Response())
        assert Request(Action("Ping"), b"1", None, None).deadline is None

    def test_a_plain_event_costs_no_look_at_calls(self, wire):
        begun = wire.begin("Ping")
        frames = [b"Event: Hangup\r\nActionID: " + begun.key]
        assert wire.table.feed(frames, (frames[0], frames[0]), LOCAL) is frames
        assert Event.from_bytes(frames[0]).action_id == begun.key.decode()


def test_a_call_is_removed_once_by_any_number_of_threads():
    pending = PendingRequests("p-", Limits(), event_class)
    first = BlockingRequest(Action("Ping"), b"mine", None, 5)
    pending.add(first)
    first.claims.pop()  # another thread is removing it, and has come as far as this
    assert not pending.remove(first)
    with pytest.raises(InvalidAction):
        pending.add(BlockingRequest(Action("Ping"), b"mine", None, 5))
    assert pending.requests() == [first]
