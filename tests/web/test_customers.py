"""The pages of customers: found, masked, shown for a moment, changed, exported, erased; within scope, and with the store away."""

import io
import json
import zipfile
from collections.abc import Callable

import openpyxl
import pytest
from sqlalchemy import select, update

from app.kernel.db import Database
from app.kernel.unit_of_work import unit_of_work
from app.permissions.policy import Role
from app.tenants.kek import KeyStoreAway
from app.tenants.keys import KeyStore
from app.tenants.models import AuditRecord, Party
from app.tenants.parties import register_party
from app.tenants.personal_data import Personal, change_personal_data
from tests.factories.world import World, add_property
from tests.web.conftest import SEEDER, Visitor

Visit = Callable[..., Visitor]
NAME, PHONE, DOCUMENT, ACCOUNT = "欧阳雪琴", "13866667777", "11010519491231002X", "6222021234567890128"


@pytest.fixture
def known(world: World, db: Database) -> str:
    """Public id of somebody with everything on file and no role."""
    with unit_of_work(world.tenant_id, db=db) as session:
        party = register_party(session, property_id=world.property_id, name=NAME, phone=PHONE, id_number=DOCUMENT)
        given: dict[Personal, str | None] = {Personal.BANK_ACCOUNT: ACCOUNT}
        change_personal_data(session, public_id=party.public_id, allowed={world.property_id}, given=given, by=SEEDER)
        return str(party.public_id)


def deeds(db: Database, world: World) -> list[str]:
    with unit_of_work(world.tenant_id, db=db) as session:
        query = select(AuditRecord.deed).where(AuditRecord.deed.like("person:%")).order_by(AuditRecord.id)
        return list(session.scalars(query))[1:]


@pytest.mark.parametrize("words", [NAME, NAME[:2], PHONE, "138 6666 7777", "7777", DOCUMENT])
def test_a_customer_is_found_and_shown_masked(visit: Visit, world: World, known: str, words: str) -> None:
    page = visit(world).get("/customers", query_string={"q": words}).get_data(as_text=True)
    assert f"/customers/{known}" in page
    assert "欧阳**" in page
    assert NAME not in page.replace(f'value="{words}"', "")


def test_the_list_pages_and_what_is_not_found_says_how_to_search(
    visit: Visit, make_world: Callable[..., World]
) -> None:
    world = make_world(spaces=60)
    visitor = visit(world)
    first = visitor.text("/customers")
    assert first.count("/customers/") == 50
    assert "/customers?after=" in first
    assert "没有找到客户" in visitor.text("/customers?q=无此人")


def test_the_page_masks_everything(visit: Visit, world: World, known: str) -> None:
    page = visit(world).text(f"/customers/{known}")
    for shown in ("138****7777", "****002X", "****0128", "欧阳**"):
        assert shown in page
    for hidden in (NAME, PHONE, DOCUMENT, ACCOUNT):
        assert hidden not in page


@pytest.mark.parametrize(
    ("path", "number"),
    [("phone", PHONE), ("documents/id_number", DOCUMENT), ("documents/bank_account", ACCOUNT)],
)
def test_a_full_number_is_shown_for_a_reason_once_and_never_kept_by_the_browser(
    visit: Visit, world: World, known: str, db: Database, path: str, number: str
) -> None:
    visitor, address = visit(world), f"/customers/{known}"
    refused = visitor.post(f"{address}/{path}", {"reason": " "}, token_from=address)
    assert number not in refused.get_data(as_text=True)
    assert "请填写原因" in refused.get_data(as_text=True)
    answer = visitor.post(f"{address}/{path}", {"reason": "上门核对"}, token_from=address)
    assert number in answer.get_data(as_text=True)
    assert answer.headers["Cache-Control"] == "no-store"
    assert "delay:30s" in answer.get_data(as_text=True)
    again = visitor.text(f"{address}/numbers/{path.rpartition('/')[2]}")
    assert number not in again
    assert [deed for deed in deeds(db, world) if deed.endswith("unmask")] == deeds(db, world)
    assert len(deeds(db, world)) == 1


def test_who_may_see_phones_may_not_see_documents(visit: Visit, world: World, known: str) -> None:
    duty = visit(world, Role.DUTY_OFFICER)
    address = f"/customers/{known}"
    token = {"reason": "夜间送电", "csrf_token": csrf(duty, address)}
    assert PHONE in duty.client.post(f"{address}/phone", data=token).get_data(as_text=True)
    assert duty.client.post(f"{address}/documents/id_number", data=token).status_code == 403
    for deed in ("", "/export", "/erase"):
        assert duty.client.post(f"{address}{deed}", data=token).status_code == 403


def csrf(visitor: Visitor, address: str) -> str:
    return visitor.text(address).split('name="csrf_token" value="')[1].split('"')[0]


def test_a_customer_of_a_sibling_property_is_not_there(visit: Visit, world: World, known: str, db: Database) -> None:
    with unit_of_work(world.tenant_id, db=db) as session:
        elsewhere = add_property(session, world, name="翠湖天地")
    visitor = visit(world, Role.PROPERTY_MANAGER, at=elsewhere)
    missing = "00000000-0000-7000-8000-000000000000"
    for path in ("", "/numbers/phone"):
        answers = [visitor.get(f"/customers/{one}{path}").status_code for one in (known, missing)]
        assert answers == [404, 404]
    for path in ("", "/phone", "/documents/id_number", "/export"):
        answers = [
            visitor.post(f"/customers/{one}{path}", {"reason": "核对", "phone": PHONE}).status_code
            for one in (known, missing)
        ]
        assert answers == [404, 404], path
    for words in (NAME, PHONE, DOCUMENT):
        assert known not in visitor.get("/customers", query_string={"q": words}).get_data(as_text=True)
    assert visitor.get("/customers/" + known + "/numbers/name").status_code == 404


def test_numbers_are_registered_and_changed_with_a_hint_for_a_doubtful_card(
    visit: Visit, world: World, known: str, db: Database
) -> None:
    visitor, address = visit(world), f"/customers/{known}"
    wrong = visitor.post(address, {"phone": "123", "bank_account": ACCOUNT}, token_from=address)
    assert wrong.status_code == 422
    assert "手机号不正确" in wrong.get_data(as_text=True)
    done = visitor.post(
        address, {"phone": "13900001111", "bank_account": ACCOUNT[:-1] + "9", "forget_id_number": "1", "name": "改名"},
        token_from=address,
    )  # fmt: skip
    assert done.status_code == 303
    page = visitor.text(address)
    for words in ("客户资料已保存", "校验位不符", "139****1111", "****0129", "未登记", "欧阳**"):
        assert words in page
    assert deeds(db, world) == ["person:data:change"]


def test_an_export_holds_everything_and_leaves_a_record(visit: Visit, world: World, known: str, db: Database) -> None:
    visitor, address = visit(world), f"/customers/{known}"
    assert visitor.post(f"{address}/export", {"reason": ""}, token_from=address).status_code == 422
    answer = visitor.post(f"{address}/export", {"reason": "本人到场申请"}, token_from=address)
    assert (answer.status_code, answer.mimetype) == (200, "application/zip")
    archive = zipfile.ZipFile(io.BytesIO(answer.data))
    told = json.loads(archive.read("data.json"))
    assert told["person"][0]["bank_account"] == ACCOUNT
    book = openpyxl.load_workbook(io.BytesIO(archive.read("data.xlsx")))
    assert book.sheetnames[0] == "基本资料"
    assert DOCUMENT in [cell.value for cell in book["基本资料"][2]]
    assert "person:data:export" in deeds(db, world)
    with unit_of_work(world.tenant_id, db=db) as session:
        kept = session.scalars(select(AuditRecord).where(AuditRecord.deed == "person:data:export")).one()
        assert (kept.reason, kept.facts["factor"], kept.facts["rows"]["person"]) == ("本人到场申请", "none", 1)


def test_erasing_wants_a_tick_and_a_reason_and_cannot_be_undone(
    visit: Visit, world: World, known: str, db: Database
) -> None:
    visitor, address = visit(world), f"/customers/{known}"
    assert visitor.post(f"{address}/erase", {"reason": "本人申请"}, token_from=address).status_code == 422
    assert visitor.post(f"{address}/erase", {"reason": "", "sure": "1"}, token_from=address).status_code == 422
    sure = {"reason": "本人申请", "sure": "1"}
    assert visitor.post(f"{address}/erase", sure, token_from=address).status_code == 303
    page = visitor.text(address)
    assert "已删除" in page
    for gone in (NAME[:2], "7777", "002X", "0128", "显示完整号码</summary>", "登记或修改"):
        assert gone not in page.replace("谁查看过完整号码", "")
    again = visitor.post(f"{address}/erase", sure)
    assert again.status_code == 409
    with unit_of_work(world.tenant_id, db=db) as session:
        assert session.scalars(select(Party.name).where(Party.erased_at.is_not(None))).all() == ["已删除"]


def test_auditors_see_how_often_people_looked(visit: Visit, world: World, known: str) -> None:
    manager, address = visit(world, Role.PROPERTY_MANAGER), f"/customers/{known}"
    for _ in range(2):
        manager.post(f"{address}/phone", {"reason": "联系缴费"}, token_from=address)
    auditor = visit(world, Role.GROUP_AUDITOR, at=world.headquarters_id)
    page = auditor.text("/unmaskings")
    assert "陈静怡" in page
    assert '<td class="num">2</td><td class="num">2</td><td class="num">2</td>' in page
    assert "联系缴费" in auditor.text(address)
    assert visit(world, Role.CASHIER).get("/unmaskings").status_code == 403


def test_with_the_key_store_away_numbers_are_closed_and_the_rest_goes_on(
    visit: Visit, world: World, known: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    visitor, address = visit(world), f"/customers/{known}"
    token = csrf(visitor, address)

    def away(*_: object) -> bytes:
        raise KeyStoreAway()

    monkeypatch.setattr(KeyStore, "data_key", away)
    page = visitor.text(address)
    assert "密钥服务暂时不可用" in page
    assert "欧阳**" in page
    assert f"/customers/{known}" in visitor.get("/customers", query_string={"q": NAME}).get_data(as_text=True)
    for address_ in ("/", "/rooms", "/accounts", "/search?q=0101", "/customers?q=7777", "/payments"):
        assert visitor.get(address_).status_code in (200, 302), address_
    shown = visitor.client.post(f"{address}/phone", data={"reason": "核对", "csrf_token": token})
    assert "密钥服务暂时不可用" in shown.get_data(as_text=True)
    exported = visitor.client.post(f"{address}/export", data={"reason": "核对", "csrf_token": token})
    assert exported.status_code == 503
    assert "密钥服务暂时不可用" in exported.get_data(as_text=True)


def test_a_moved_ciphertext_is_said_in_words_and_the_page_stands(
    visit: Visit, world: World, known: str, db: Database
) -> None:
    with unit_of_work(world.tenant_id, db=db) as session:
        other = register_party(session, property_id=world.property_id, name="另一人", phone="13812340000")
        moved = session.scalars(select(Party.phone_cipher).where(Party.public_id == known)).one()
        session.execute(update(Party).where(Party.id == other.id).values(phone_cipher=moved))
        address = f"/customers/{other.public_id}"
    visitor = visit(world)
    page = visitor.text(address)
    assert "无法解开" in page
    assert PHONE not in page
    answer = visitor.post(f"{address}/export", {"reason": "核对"}, token_from=address)
    assert answer.status_code == 500
    assert "parties.phone" in answer.get_data(as_text=True)
    assert "系统管理员" in answer.get_data(as_text=True)
