from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

import pytest
import uvloop
from support.until import until

from fairlead.drivers.pipes import HIGH_WATER, LOW_WATER, FrameWriter, PipeReader
