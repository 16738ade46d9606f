"""What a child needs, by what the mirror shows: a table."""

from __future__ import annotations

from dataclasses import replace

import pytest

from roadstead.controller.decide import Action, decide
from roadstead.desired import Child, ChildKind
from roadstead.observed.views import ChildView, DeploymentView

SERVICE = Child(ChildKind.SERVICE, {"metadata": {"name": "chat"}}, "new")
DEPLOYMENT = Child(ChildKind.DEPLOYMENT, {"metadata": {"name": "chat"}}, "new", template="t2", user_template="u1")
LIVE_SERVICE = ChildView("uid", "owner", "new", "hash", ())
LIVE = DeploymentView("uid", "owner", "new", "hash", (), "t2", "u1", 1, True, 1, 1, 1, 1, {})


@pytest.mark.parametrize(
    ("child", "live", "remembered", "pods", "action"),
    [
        pytest.param(SERVICE, None, None, False, Action.CREATE, id="absent"),
        pytest.param(SERVICE, LIVE_SERVICE, "hash", True, Action.NOTHING, id="in sync"),
        pytest.param(SERVICE, replace(LIVE_SERVICE, owner_uid="other"), "hash", True, Action.TAKEN, id="another owner"),
        pytest.param(SERVICE, replace(LIVE_SERVICE, owner_uid=None), "hash", True, Action.TAKEN, id="no owner"),
        pytest.param(SERVICE, replace(LIVE_SERVICE, digest="old"), "hash", True, Action.APPLY, id="declaration changed"),
        pytest.param(SERVICE, replace(LIVE_SERVICE, ours="less"), "hash", True, Action.APPLY, id="a field of ours was taken"),
        pytest.param(SERVICE, replace(LIVE_SERVICE, foreign=("/spec/x",)), "hash", True, Action.CLEAN, id="a field was added"),
        pytest.param(SERVICE, replace(LIVE_SERVICE, digest="old", leaving=True), "hash", True, Action.LEAVING, id="being deleted"),
        pytest.param(SERVICE, LIVE_SERVICE, None, True, Action.APPLY, id="record lost"),
        pytest.param(DEPLOYMENT, LIVE, "hash", True, Action.NOTHING, id="deployment in sync"),
        pytest.param(DEPLOYMENT, replace(LIVE, digest="old", template="t1"), "hash", True, Action.WAIT, id="platform change, pods run"),
        pytest.param(DEPLOYMENT, replace(LIVE, digest="old", template="t1"), None, True, Action.WAIT, id="the same, record lost"),
        pytest.param(DEPLOYMENT, replace(LIVE, digest="old", template="t1"), "hash", False, Action.APPLY, id="platform change, no pods"),
        pytest.param(
            DEPLOYMENT, replace(LIVE, digest="old", template="t1", user_template="u0"), "hash", True, Action.APPLY, id="user change"
        ),
        pytest.param(DEPLOYMENT, replace(LIVE, digest="old"), "hash", True, Action.APPLY, id="template equal: restarts nothing"),
        pytest.param(
            DEPLOYMENT, replace(LIVE, digest="old", template="t1", ours="less"), "hash", True, Action.APPLY, id="repair carries the pending"
        ),
    ],
)
def test_decides(child: Child, live: ChildView | None, remembered: str | None, pods: bool, action: Action) -> None:
    assert decide(child, live, owner_uid="owner", remembered=remembered, pods=pods).action is action


@pytest.mark.parametrize(
    ("live", "remembered", "paced"),
    [
        pytest.param(replace(LIVE, digest="old", template="t1"), "hash", True, id="only our side changed"),
        pytest.param(replace(LIVE, digest="old", template="t1", user_template="u0"), "hash", False, id="the user's change carries ours"),
        pytest.param(replace(LIVE, digest="old"), "hash", False, id="template equal"),
        pytest.param(replace(LIVE, digest="old", template="t1", ours="less"), "hash", False, id="a repair"),
    ],
)
def test_only_what_no_user_asked_for_takes_its_turn(live: DeploymentView, remembered: str, paced: bool) -> None:
    assert decide(DEPLOYMENT, live, owner_uid="owner", remembered=remembered, pods=False).paced is paced
