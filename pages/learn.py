"""The course: predict, do, compare, understand, be asked; each lesson is a link."""

import streamlit as st

from pages.common import course, learn_contents, learn_lesson, learn_teachers, shell

shell.enter()
if st.session_state.pop(learn_lesson.LEAVING, False):
    st.switch_page("pages/plan.py")
with st.container(key="learn"):
    if course.lesson_name() == course.TEACHERS:
        learn_teachers.show()
    elif course.lesson_name():
        learn_lesson.show(course.lesson_name())
    else:
        learn_contents.show()
course.write_address()
course.keep()
