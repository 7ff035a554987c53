"""The kernel harness shows what a notebook would, and keeps kernels apart from us."""

import pytest

from tests.kernel_harness import Iopub, final_outputs


def test_a_run_has_its_reply_outputs_and_count(kernel):
    run = kernel.run("print('hi'); 1 + 1")
    assert (run.ok, run.stdout, run.reply["execution_count"]) == (True, "hi\n", 1)
    assert run.outputs[-1]["data"] == {"text/plain": "2"}
    assert 0 < run.seconds < 10
    assert run.bytes > 100


def test_an_update_reaches_the_output_it_names(kernel):
    code = "h = display('a', display_id=True); display('b'); h.update('c')"
    run = kernel.run(code)
    assert run.text == "'c'\n'b'"
    assert len(run.of("update_display_data")) == 1


def test_an_error_is_told(kernel):
    run = kernel.run("1 / 0")
    assert run.error == "ZeroDivisionError: division by zero"
    assert "ZeroDivisionError" in run.text


def test_an_interrupt_ends_a_cell(kernel):
    def stop(message: Iopub) -> None:
        if message.type == "stream":
            kernel.interrupt()

    run = kernel.run("import time; print('on'); time.sleep(30)", on_message=stop)
    assert run.error == "KeyboardInterrupt: "
    assert kernel.run("1").ok


def test_prompts_are_answered_in_order(kernel):
    run = kernel.run("print(input('a? ') + input('b? '))", answers=["x", "y"])
    assert run.stdout == "xy\n"
    assert run.prompts == ["a? ", "b? "]


def test_without_answers_there_is_no_stdin(kernel):
    assert kernel.run("input()").reply["ename"] == "StdinNotImplementedError"


def test_a_value_comes_back(kernel):
    kernel.run("x = {'a': [1, 2]}")
    assert kernel.evaluate("x") == {"a": [1, 2]}


def test_a_kernel_sees_no_key_and_no_folder_of_ours(start_kernels, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-canary")
    monkeypatch.setenv("ALLOY_MODEL", "outer")
    kernel = start_kernels(env={"ALLOY_TEST": "inner"})
    environment = kernel.evaluate("dict(__import__('os').environ)")
    assert "canary" not in str(environment)
    assert "ALLOY_MODEL" not in environment
    assert environment["ALLOY_TEST"] == "inner"
    assert environment["IPYTHONDIR"].startswith(str(kernel.home))


def test_several_kernels_are_apart(start_kernels):
    first, second = start_kernels(), start_kernels()
    first.run("x = 1")
    assert not second.run("x").ok
    assert first.pid != second.pid


def test_what_the_process_itself_writes_is_kept(kernel):
    kernel.run("import os; os.write(2, b'raw')")
    assert "raw" in kernel.log


def test_a_killed_kernel_is_gone(kernel):
    kernel.kill()
    assert not kernel.manager.is_alive()


@pytest.mark.parametrize(("wait", "left"), [(False, []), (True, ["a"])])
def test_clear_output_clears_now_or_with_the_next(wait, left):
    stream = Iopub("stream", {"name": "stdout", "text": "a"}, 0.0, 0)
    outputs = final_outputs([stream, Iopub("clear_output", {"wait": wait}, 0.0, 0)])
    assert [output["text"] for output in outputs] == left
