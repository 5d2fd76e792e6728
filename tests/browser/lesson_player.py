"""Goes through any lesson with the keyboard alone, from its data; it knows none by name."""

import time

from pruning_core.lessons.lesson import (
    Choice,
    Members,
    Number,
    Numbers,
    Order,
    all_facts,
    done_at,
    options_of,
)
from pruning_core.lessons.texts import FRAME, Words
from tests.lesson_play import nearest, wrong

_FOCUSED = "one => one === document.activeElement || one.contains(document.activeElement)"
_MOST_TABS = 300


def until(read, wanted, seconds=120.0):
    """Wait until ``wanted(read())`` holds and return what was read."""
    end = time.monotonic() + seconds
    while not wanted(value := read()):
        assert time.monotonic() < end, f"still {value!r}"
        time.sleep(0.05)
    return value


def settle(page):
    """Wait until the server has nothing left to do."""
    page.wait_for_function(
        "() => document.querySelector('[data-testid=stApp]')?.dataset.testScriptState"
        " === 'notRunning'"
    )


def reach(page, target):
    """Go to an element with the Tab key."""
    target.first.wait_for()
    for _ in range(_MOST_TABS):
        if target.first.evaluate(_FOCUSED):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"the Tab key never comes to {target}")


class Player:
    """One lesson in one language on one page."""

    def __init__(self, page, url, lesson, language, look=lambda name: None):
        """``look`` is called with a name where a picture is worth taking."""
        self.page, self.url, self.lesson, self.language = page, url, lesson, language
        self.words, self.frame = Words(language, lesson.key), Words(language, FRAME)
        self.look = look

    def begin(self):
        """Open the lesson: what is to be found out is not yet to be seen."""
        self.page.goto(f"{self.url}/learn?lesson={self.lesson.key}&lang={self.language}")
        self.page.get_by_text(self.words("goal"), exact=True).wait_for()
        self._button("learn_commit").wait_for()
        settle(self.page)
        assert self.page.locator(".js-plotly-plot").count() == 0
        assert self._button("learn_reveal").count() == 0
        self.look("predict")

    def predict(self, guess):
        """Give the prediction; it cannot be given before there is one."""
        if isinstance(self.lesson.guess, Choice | Order):
            assert self._button("learn_commit").is_disabled()
        self._put("guess", self.lesson.guess, guess)
        self.press("learn_commit")
        self._button("learn_reveal").wait_for(timeout=200_000)  # the numbers are being computed
        settle(self.page)

    def reload(self):
        """Load the page anew: the prediction is still there."""
        self.page.reload()
        self._button("learn_reveal").wait_for()
        assert self._button("learn_commit").count() == 0

    def do(self, facts):
        """Do what is asked, and have the answer shown; return all facts there."""
        settle(self.page)
        value = done_at(self.lesson, facts)
        self._put("do", self.lesson.do, value)
        if self.lesson.attempt is not None:
            assert self._button("learn_reveal").is_disabled()
            self.press("learn_attempt")
        until(self._button("learn_reveal").is_enabled, bool, seconds=200)
        settle(self.page)
        self.look("do")
        self.press("learn_reveal")
        self._button("learn_check").wait_for()
        settle(self.page)
        self.page.locator(".js-plotly-plot .main-svg").first.wait_for()
        return all_facts(self.lesson, facts, value)

    def compared(self):
        """Return ``right``, ``near`` or ``far``, as the page says it."""
        shown = self.page.locator(".stAlert").all_inner_texts()
        for how in ("right", "near", "far"):
            begins = self.frame(f"reveal.{how}", guess="", truth="").split("**")[1]
            if any(text.strip().startswith(begins) for text in shown):
                return how
        raise AssertionError(shown)

    def answer(self, value, *, is_right):
        """Answer the question at the end."""
        self._put(self.lesson.check.key, self.lesson.check.control, value)
        settle(self.page)
        self.press("learn_check")
        begins = self.frame(f"check.{'right' if is_right else 'wrong'}", text="").split("**")[1]
        self.page.locator(".stAlert").last.get_by_text(begins).first.wait_for()
        settle(self.page)

    def go_on(self):
        """Open the workbench in the state of the lesson."""
        self.press("learn_open")
        self.page.locator(".st-key-strip_numbers .item").first.wait_for()
        assert "/plan" in self.page.url

    def play(self, facts, *, guesses_right):
        """Take the lesson from start to end, the question first wrongly; ``facts()`` knows it."""
        at_once = facts()
        self.begin()
        truth = self.lesson.truth(all_facts(self.lesson, at_once, done_at(self.lesson, at_once)))
        control = self.lesson.guess
        self.predict(nearest(control, truth) if guesses_right else wrong(control, truth))
        self.reload()
        found = self.do(facts())
        assert (self.compared() == "right") == guesses_right
        answer, check = self.lesson.check.answer(found), self.lesson.check.control
        self.answer(wrong(check, answer), is_right=False)
        self.look("check")
        self.answer(answer, is_right=True)
        assert self._button("learn_check").count() == 0
        assert self.page.locator("[data-testid=stException]").count() == 0
        self.look("done")
        self.go_on()

    def press(self, key):
        """Press the button with a key."""
        reach(self.page, self._button(key))
        self.page.keyboard.press("Enter")

    def _button(self, key):
        return self.page.locator(f".st-key-{key} button").locator("visible=true")

    def _box(self, part, name=""):
        key = f"learn-{self.lesson.key}-{part}-{self.language}" + (f"-{name}" if name else "")
        return self.page.locator(f".st-key-{key.replace('.', '-')}")

    def _put(self, part, control, value):
        """Give a control a value."""
        match control:
            case Choice(options):
                self._choose(self._box(part), options.index(value))
            case Order(options):
                self._order(part, control, value)
            case Members():
                self._tick(self._box(part), value)
            case Numbers(names=names):
                for name, number in zip(names, value, strict=True):
                    self._slide(self._box(part, name), control.step, number)
            case Number() if part not in {"guess", "do"}:
                self._type(self._box(part), value)
            case Number():
                self._slide(self._box(part), control.step, value)

    def _choose(self, box, place):
        """Choose one of the options that lie side by side, or one below the other."""
        options = box.get_by_role("radio")
        reach(self.page, box)
        for _ in range(2 * options.count() + 2):
            wanted = options.nth(place)
            if _is_chosen(wanted):
                return
            if wanted.evaluate(_FOCUSED):
                self.page.keyboard.press(" ")
                until(lambda wanted=wanted: _is_chosen(wanted), bool, seconds=20)
                settle(self.page)
            else:
                self.page.keyboard.press("ArrowRight")
        raise AssertionError(f"option {place} cannot be chosen")

    def _tick(self, box, wanted):
        """Choose some of the numbers that lie side by side."""
        chosen = box.locator("button[aria-pressed=true]")
        reach(self.page, box)
        for done, number in enumerate(wanted, start=1):
            option = box.get_by_role("button", name=str(number), exact=True)
            for _ in range(box.get_by_role("button").count()):
                if option.evaluate(_FOCUSED):
                    break
                self.page.keyboard.press("ArrowRight")
            self.page.keyboard.press(" ")
            until(chosen.count, lambda count, done=done: count == done)
            settle(self.page)

    def _order(self, part, control, wanted):
        """Choose all options, one after the other, by typing what they are called."""
        box = self._box(part)
        field = box.get_by_role("combobox")
        chips = box.locator("[data-tag], [data-baseweb=tag]")
        for done, option in enumerate(wanted, start=1):
            reach(self.page, field)
            text = self.words(f"{part}.options.{option}") if options_of(control) else option
            self.page.keyboard.insert_text(text)
            self.page.keyboard.press("Enter")
            until(chips.count, lambda count, done=done: count == done)
            settle(self.page)

    def _slide(self, box, step, wanted):
        slider = box.get_by_role("slider")
        reach(self.page, slider)
        for _ in range(5):
            steps = round((wanted - float(slider.input_value())) / step)
            if not steps:
                settle(self.page)
                return
            for _ in range(abs(steps)):
                self.page.keyboard.press("ArrowRight" if steps > 0 else "ArrowLeft")
            settle(self.page)
        raise AssertionError(f"the slider is at {slider.input_value()}, not at {wanted}")

    def _type(self, box, value):
        field = box.get_by_role("spinbutton")
        reach(self.page, field)
        self.page.keyboard.press("Control+A")
        self.page.keyboard.type(f"{value:.4g}")
        self.page.keyboard.press("Enter")


def _is_chosen(option):
    return option.evaluate("one => one.checked === true || one.ariaChecked === 'true'")
