from fairlead.app.settings import Settings
from fairlead.cli.gitops_report import GitOpsReport, gitops_report
from fairlead.stores.state import GITOPS, Run, StateFolder
from fairlead.stores.tokens import TokenStore
from support.rest_service import RestService

RUN = Run(4711, 1.0, {GITOPS: "http://127.0.0.1:5000"}, "0", 1.0)
HEAD = "GitOps controller at http://127.0.0.1:5000 (process 4711): "


def application(name: str, mode: str = "observe", *, ready: bool = True):
    return {"name": name, "mode": mode, "conditions": [{"type": "Ready", "status": ready}]}


def line(*applications) -> str:
    report = GitOpsReport(RUN, applications)
    text = report.line().replace("\x1b[1m", "").replace("\x1b[0m", "")
    assert text.startswith(HEAD)
    return text.removeprefix(HEAD)


def test_one_line_says_what_it_has_in_charge():
    assert line() == "no applications yet"
    assert line(application("fleet")) == "1 application, only observed, 1 ready"
    assert line(application("fleet", "enforce", ready=False)) == "1 application, kept as Git says, 0 ready"
    mixed = (application("a"), application("b", "enforce"), application("c", "enforce", ready=False))
    assert line(*mixed) == "3 applications, 1 only observed, 2 kept as Git says, 2 ready"


def test_an_application_without_conditions_is_not_ready():
    assert line(application("fleet") | {"conditions": []}) == "1 application, only observed, 0 ready"


def test_where_it_does_not_run_the_reason_is_told():
    report = GitOpsReport(reason="port 5000 is taken")
    assert report.line() == "GitOps controller: port 5000 is taken"
    assert report.document() == {"gitops": None, "gitopsReason": "port 5000 is taken"}


def test_programs_get_each_application():
    rows = [{"name": "fleet", "mode": "observe", "ready": True}]
    document = GitOpsReport(RUN, (application("fleet"),)).document()
    assert document == {
        "gitops": {"address": "http://127.0.0.1:5000", "pid": 4711, "applications": rows},
    }
    assert GitOpsReport(RUN, None).document()["gitops"]["applications"] is None


def test_it_is_asked_with_the_local_token(state: StateFolder):
    state.prepare()
    token = TokenStore(state).ensure_local()
    settings = Settings.model_validate({"state_dir": state.root})
    with RestService() as service:
        state.of(GITOPS).write_run({GITOPS: service.address}, "0")
        service.answers = {"GET /api/applications": (200, {"applications": [application("fleet")]})}
        report = gitops_report(settings, absent="not there")
        assert report.applications == (application("fleet"),)
        assert service.received[-1].token == token
        service.answers = {}
        refused = gitops_report(settings, absent="not there")
    assert refused.run is not None
    assert refused.applications is None
    assert "Not found" in refused.line()
    gone = gitops_report(settings, absent="not there")
    assert "does not answer" in gone.line()


def test_one_that_just_starts_is_no_absent_one(state: StateFolder):
    state.prepare()
    settings = Settings.model_validate({"state_dir": state.root})
    assert gitops_report(settings, absent="not there").reason == "not there"
    with state.of(GITOPS).lock():
        assert "just starting or stopping" in gitops_report(settings, absent="not there").reason
    assert gitops_report(settings, absent="not there").reason == "not there"
