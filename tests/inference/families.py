"""Chat templates in the forms of real families, written for these tests.

Each keeps what makes its family special: its tags, who writes the begin token, whether it knows a system
role, how it reads content, what it writes before an answer, and whether it shows a date.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Family:
    """A template, the tokenizer's habits, and how a prompt must end."""

    template: str
    end: str
    """The last text before the answer prefix."""
    bos: str | None = None
    """The begin token, which stands once at the beginning."""
    tokenizer_writes_bos: bool = False
    tokenizer_writes_eos: bool = False
    dated: bool = False
    """Whether a prompt without system text shows the date."""


def turns(user: str, system: str = "", answer: str = "", *, head: str = "", before: str = "") -> str:
    """A template of one block per turn; `{}` in a block is the content."""
    blocks = ""
    for number, (role, block) in enumerate((("system", system), ("user", user))):
        if block:
            start, end = block.split("{}")
            word = "elif" if number and system else "if"
            blocks += (
                "{%- " + word + f" message['role'] == '{role}' -%}}" + "{{ " + repr(start)
                + " + message['content'] + " + repr(end) + " }}"
            )  # fmt: skip
    refusal = "" if system else "{%- else -%}{{ raise_exception('only user turns') }}"
    return (
        before + "{%- for message in messages -%}" + blocks + refusal + "{%- endif -%}{%- endfor -%}"
        + "{%- if add_generation_prompt -%}{{ " + repr(answer) + " }}" + head + "{%- endif -%}"
    )  # fmt: skip


BOS = "{{- bos_token -}}"
CHATML = {
    "user": "<|im_start|>user\n{}<|im_end|>\n",
    "system": "<|im_start|>system\n{}<|im_end|>\n",
    "answer": "<|im_start|>assistant\n",
}
CHATML_END = "<|im_start|>assistant\n"
EMPTY_THOUGHT = (
    "{%- if enable_thinking is defined and enable_thinking is false -%}{{ '<think>\\n\\n</think>\\n\\n' }}"
    "{%- endif -%}"
)
IN_SQUARE_BRACKETS = (
    BOS + "{%- if messages[0]['role'] == 'system' -%}{%- set system = messages[0]['content'] -%}"
    "{%- set loop_messages = messages[1:] -%}{%- else -%}{%- set loop_messages = messages -%}{%- endif -%}"
    "{%- for message in loop_messages -%}{%- if message['role'] == 'user' -%}"
)
MISTRAL = IN_SQUARE_BRACKETS + (
    "{%- if system is defined -%}{{ '[INST] ' + system + '\\n\\n' + message['content'] + ' [/INST]' }}"
    "{%- else -%}{{ '[INST] ' + message['content'] + ' [/INST]' }}{%- endif -%}{%- endif -%}{%- endfor -%}"
)
LLAMA_2 = IN_SQUARE_BRACKETS + (
    "{%- set content = '<<SYS>>\\n' + system + '\\n<</SYS>>\\n\\n' + message['content'] if system is defined "
    "else message['content'] -%}{{ '[INST] ' + content.strip() + ' [/INST]' }}{%- endif -%}{%- endfor -%}"
)
LLAMA_3_TURNS = (
    "{%- for message in messages -%}{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' "
    "+ message['content'] | trim + '<|eot_id|>' }}{%- endfor -%}{%- if add_generation_prompt -%}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif -%}"
)
LLAMA_3_END = "<|start_header_id|>assistant<|end_header_id|>\n\n"
LLAMA_3_DATES = (
    BOS + "{{ '<|start_header_id|>system<|end_header_id|>\\n\\nCutting Knowledge Date: December 2023\\n' }}"
    "{{ 'Today Date: ' + date_string + '\\n\\n' }}{%- if messages[0]['role'] == 'system' -%}"
    "{{ messages[0]['content'] | trim }}{%- set messages = messages[1:] -%}{%- endif -%}{{ '<|eot_id|>' }}"
) + LLAMA_3_TURNS
GEMMA_TURNS = (
    "{%- for message in messages -%}{%- set role = 'model' if message['role'] == 'assistant' else "
    "message['role'] -%}{{ '<start_of_turn>' + role + '\\n' }}"
    "{{ message['content'] | trim + '<end_of_turn>\\n' }}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<start_of_turn>model\\n' }}{%- endif -%}"
)
GEMMA_REFUSAL = (
    BOS + "{%- if messages[0]['role'] == 'system' -%}{{ raise_exception('System role not supported') }}"
    "{%- endif -%}"
)
GEMMA_3 = BOS + (
    "{%- if messages[0]['role'] == 'system' -%}{%- if messages[0]['content'] is string -%}"
    "{%- set first = messages[0]['content'] + '\\n\\n' -%}{%- else -%}"
    "{%- set first = messages[0]['content'][0]['text'] + '\\n\\n' -%}{%- endif -%}"
    "{%- set messages = messages[1:] -%}{%- else -%}{%- set first = '' -%}{%- endif -%}"
    "{%- for message in messages -%}{{ '<start_of_turn>user\\n' + (first if loop.first else '') }}"
    "{%- if message['content'] is string -%}{{ message['content'] | trim }}{%- else -%}"
    "{%- for item in message['content'] -%}{%- if item['type'] == 'text' -%}{{ item['text'] | trim }}"
    "{%- endif -%}{%- endfor -%}{%- endif -%}{{ '<end_of_turn>\\n' }}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<start_of_turn>model\\n' }}{%- endif -%}"
)
PARTS = (
    "<|im_start|>{% for message in messages %}{{ message['role'] | capitalize }}"
    "{% if message['content'][0]['type'] == 'image' %}{{ ':' }}{% else %}{{ ': ' }}{% endif %}"
    "{% for line in message['content'] %}{% if line['type'] == 'text' %}{{ line['text'] }}"
    "{% elif line['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}<end_of_utterance>\n{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
LLAVA = (
    "{% for message in messages %}{% if message['role'] != 'system' %}{{ message['role'] | upper + ': ' }}"
    "{% endif %}{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}"
    "{{ '<image>\\n' }}{% endfor %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}"
    "{{ content['text'] + ' ' }}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
MISTRAL_7 = BOS + (
    "{%- set today = strftime_now('%Y-%m-%d') -%}{%- if messages[0]['role'] == 'system' -%}"
    "{%- set system = messages[0]['content'] -%}{%- set messages = messages[1:] -%}{%- else -%}"
    "{%- set system = 'You are a helper. The current date is ' + today + '.' -%}{%- endif -%}"
    "{{ '[SYSTEM_PROMPT]' + system + '[/SYSTEM_PROMPT]' }}{%- for message in messages -%}"
    "{{ '[INST]' + message['content'] + '[/INST]' }}{%- endfor -%}"
)
DEEPSEEK = BOS + (
    "{%- set ns = namespace(system='') -%}{%- for message in messages -%}"
    "{%- if message['role'] == 'system' -%}{%- set ns.system = message['content'] -%}{%- endif -%}"
    "{%- endfor -%}{{ ns.system }}{%- for message in messages -%}{%- if message['role'] == 'user' -%}"
    "{{ '<|User|>' + message['content'] }}{%- endif -%}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|Assistant|>' }}"
)
GPT_OSS = (
    "{{ '<|start|>system<|message|>Knowledge cutoff: 2024-06\\nCurrent date: ' + strftime_now('%Y-%m-%d') }}"
    "{{ '\\n# Valid channels: analysis, commentary, final.<|end|>' }}{%- for message in messages -%}"
    "{%- if message['role'] == 'system' -%}"
    "{{ '<|start|>developer<|message|># Instructions\\n\\n' + message['content'] + '<|end|>' }}{%- else -%}"
    "{{ '<|start|>user<|message|>' + message['content'] + '<|end|>' }}{%- endif -%}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|start|>assistant' }}{%- endif -%}"
)
FINAL = "<|start|>assistant<|channel|>final<|message|>"
HEADERS = {"user": "<|user|>\n{}<|end|>\n", "system": "<|system|>\n{}<|end|>\n", "answer": "<|assistant|>\n"}
HEADERS_END = "<|assistant|>\n"
GRANITE = turns(
    "<|start_of_role|>user<|end_of_role|>{}<|end_of_text|>\n",
    "<|start_of_role|>system<|end_of_role|>{}<|end_of_text|>\n",
    "<|start_of_role|>assistant<|end_of_role|>",
    before="{%- if messages[0]['role'] != 'system' -%}{{ '<|start_of_role|>system<|end_of_role|>' }}"
    "{{ 'Today\\'s Date: ' + strftime_now('%B %d, %Y') + '.<|end_of_text|>\\n' }}{%- endif -%}",
)
COMMAND = turns(
    "<|START_OF_TURN_TOKEN|><|USER_TOKEN|>{}<|END_OF_TURN_TOKEN|>",
    "<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>{}<|END_OF_TURN_TOKEN|>",
    "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>",
    before=BOS,
)
COMMAND_END = "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>"

FAMILIES: dict[str, Family] = {
    "chatml": Family(turns(**CHATML), CHATML_END),
    "qwen2": Family(
        turns(
            **CHATML,
            before="{%- if messages[0]['role'] != 'system' -%}"
            "{{ '<|im_start|>system\\nYou are a helper.<|im_end|>\\n' }}{%- endif -%}",
        ),
        CHATML_END,
    ),
    "qwen3": Family(turns(**CHATML, head=EMPTY_THOUGHT), CHATML_END + "<think>\n\n</think>\n\n"),
    "qwen3-thinking": Family(
        turns(**CHATML, head="{{ '<think>\\n' }}"), CHATML_END + "<think>\n\n</think>\n\n"
    ),
    "llama2": Family(LLAMA_2, " [/INST]", "<s>", tokenizer_writes_bos=True),
    "llama3": Family(BOS + LLAMA_3_TURNS, LLAMA_3_END, "<|begin_of_text|>", tokenizer_writes_bos=True),
    "llama3.1": Family(
        "{%- if not date_string is defined -%}{%- set date_string = '26 Jul 2024' -%}{%- endif -%}"
        + LLAMA_3_DATES,
        LLAMA_3_END,
        "<|begin_of_text|>",
        tokenizer_writes_bos=True,
    ),
    "llama3.2": Family(
        "{%- if not date_string is defined -%}{%- set date_string = strftime_now('%d %b %Y') -%}{%- endif -%}"
        + LLAMA_3_DATES,
        LLAMA_3_END,
        "<|begin_of_text|>",
        tokenizer_writes_bos=True,
        dated=True,
    ),
    "mistral-v1": Family(MISTRAL, " [/INST]", "<s>", tokenizer_writes_bos=True),
    "mistral-v3": Family(
        MISTRAL.replace("[INST] ", "[INST]").replace(" [/INST]", "[/INST]"), "[/INST]", "<s>"
    ),
    "mistral-v7": Family(MISTRAL_7, "[/INST]", "<s>", tokenizer_writes_bos=True, dated=True),
    "mixtral": Family(
        GEMMA_REFUSAL + turns("[INST] {} [/INST]"), " [/INST]", "<s>", tokenizer_writes_bos=True
    ),
    "magistral": Family(
        MISTRAL_7 + "{%- if add_generation_prompt -%}{{ '[THINK]' }}{%- endif -%}",
        "[/INST][THINK]\n\n[/THINK]\n\n",
        "<s>",
        dated=True,
    ),
    "gemma1": Family(
        GEMMA_REFUSAL + GEMMA_TURNS, "<start_of_turn>model\n", "<bos>", tokenizer_writes_bos=True
    ),
    "gemma2": Family(GEMMA_REFUSAL + GEMMA_TURNS, "<start_of_turn>model\n", "<bos>"),
    "gemma3": Family(GEMMA_3, "<start_of_turn>model\n", "<bos>", tokenizer_writes_bos=True),
    "phi3": Family(turns(**HEADERS), HEADERS_END, "<s>", tokenizer_writes_bos=True),
    "phi4": Family(
        turns(
            "<|im_start|>user<|im_sep|>{}<|im_end|>",
            "<|im_start|>system<|im_sep|>{}<|im_end|>",
            "<|im_start|>assistant<|im_sep|>",
        ),
        "<|im_start|>assistant<|im_sep|>",
    ),
    "falcon3": Family(turns("<|user|>\n{}\n", "<|system|>\n{}\n", "<|assistant|>\n"), HEADERS_END),
    "olmo2": Family(
        turns("<|user|>\n{}\n", "<|system|>\n{}\n", "<|assistant|>\n", before=BOS),
        HEADERS_END,
        "<|endoftext|>",
    ),
    "smollm2": Family(turns(**CHATML), CHATML_END),
    "smollm3": Family(
        turns(
            **CHATML,
            head=EMPTY_THOUGHT,
            before="{{ '<|im_start|>system\\n## Metadata\\n\\nToday Date: ' + strftime_now('%d %B %Y') "
            "+ '<|im_end|>\\n' }}",
        ),
        CHATML_END + "<think>\n\n</think>\n\n",
        dated=True,
    ),
    "smolvlm": Family(PARTS, "Assistant:", "<|im_start|>"),
    "idefics3": Family(
        PARTS.replace("<|im_start|>", "<|begin_of_text|>", 1), "Assistant:", "<|begin_of_text|>"
    ),
    "llava": Family(LLAVA, "ASSISTANT:", "<s>", tokenizer_writes_bos=True),
    "deepseek-r1-distill": Family(
        DEEPSEEK + "{{ '<think>\\n' }}{%- endif -%}",
        "<|Assistant|><think>\n\n</think>\n\n",
        "<|begin▁of▁sentence|>",
        tokenizer_writes_bos=True,
    ),
    "deepseek-v3": Family(
        DEEPSEEK + "{%- if not thinking -%}{{ '</think>' }}{%- endif -%}{%- endif -%}",
        "<|Assistant|></think>",
        "<|begin▁of▁sentence|>",
        tokenizer_writes_bos=True,
    ),
    "seed-oss": Family(
        turns(
            "<seed:bos>user\n{}<seed:eos>",
            "<seed:bos>system\n{}<seed:eos>",
            "<seed:bos>assistant\n<seed:think>",
        ),
        "<seed:bos>assistant\n<seed:think>\n\n</seed:think>\n\n",
    ),
    "command-r": Family(COMMAND, COMMAND_END, "<BOS_TOKEN>", tokenizer_writes_bos=True),
    "command-a-reasoning": Family(
        COMMAND.replace("<|CHATBOT_TOKEN|>", "<|CHATBOT_TOKEN|><|START_THINKING|>"),
        COMMAND_END + "<|START_THINKING|>\n\n<|END_THINKING|>\n\n",
        "<BOS_TOKEN>",
    ),
    "aya": Family(COMMAND, COMMAND_END, "<BOS_TOKEN>"),
    "granite3": Family(GRANITE, "<|start_of_role|>assistant<|end_of_role|>", dated=True),
    "yi": Family(turns(**CHATML), CHATML_END, "<|startoftext|>", tokenizer_writes_eos=True),
    "internlm2": Family(turns(**CHATML, before=BOS), CHATML_END, "<s>", tokenizer_writes_bos=True),
    "zephyr": Family(
        turns("<|user|>\n{}</s>\n", "<|system|>\n{}</s>\n", "<|assistant|>\n"),
        HEADERS_END,
        "<s>",
        tokenizer_writes_bos=True,
    ),
    "vicuna": Family(turns("USER: {} ", "{} ", "ASSISTANT:"), "ASSISTANT:", "<s>", tokenizer_writes_bos=True),
    "glm4": Family(
        "[gMASK]<sop>" + turns("<|user|>\n{}", "<|system|>\n{}", "<|assistant|>\n"), HEADERS_END, "[gMASK]"
    ),
    "exaone": Family(
        turns("[|user|]{}\n", "[|system|]{}[|endofturn|]\n", "[|assistant|]<thought>\n", before=BOS),
        "[|assistant|]<thought>\n\n</thought>\n\n",
        "[BOS]",
    ),
    "nemotron": Family(
        turns("<extra_id_1>User\n{}\n", "<extra_id_0>System\n{}\n", "<extra_id_1>Assistant\n"),
        "<extra_id_1>Assistant\n",
    ),
    "gpt-oss": Family(GPT_OSS, FINAL, dated=True),
    "gpt-oss-analysis": Family(
        GPT_OSS.replace("<|start|>assistant", "<|start|>assistant<|channel|>analysis<|message|>"),
        "<|start|>assistant<|channel|>analysis<|message|><|end|>" + FINAL,
        dated=True,
    ),
    "hunyuan": Family(
        turns("<|hy_User|>{}", "{}<|hy_3|>", "<|hy_Assistant|><thinking>", before=BOS),
        "<|hy_Assistant|><thinking>\n\n</thinking>\n\n",
        "<|hy_begin|>",
        tokenizer_writes_bos=True,
    ),
    "openthinker": Family(
        turns(**CHATML, head="{{ '<|begin_of_thought|>\\n\\n' }}"),
        CHATML_END + "<|begin_of_thought|>\n\n<|end_of_thought|>\n\n",
    ),
    "phi4-reasoning": Family(
        turns(**HEADERS, head="{{ '<reasoning>' }}"), HEADERS_END + "<reasoning>\n\n</reasoning>\n\n"
    ),
}
