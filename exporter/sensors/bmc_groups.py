"""Which BMC interfaces of this machine are asked: the Redfish service that is configured, and IPMI where it is."""

from __future__ import annotations

import os
import re

from exporter.clock import Clock
from exporter.host import Roots
from exporter.sensors.bmc_meter import BmcGroup
from exporter.sensors.bmc_poll import IPMI_DCMI, REDFISH, BmcPoller
from exporter.sensors.settings import SensorSettings
from exporter.sensors.sysfs import list_names

__all__ = ["bmc_groups"]


def bmc_groups(roots: Roots, clock: Clock, settings: SensorSettings) -> list[BmcGroup]:
    """Return one group per interface; nothing is asked yet. A machine without a BMC has none."""
    groups = []
    if settings.redfish_url and REDFISH not in settings.disabled_sources:
        from exporter.sensors.redfish import RedfishPower

        poller = BmcPoller(REDFISH, RedfishPower(settings).ask, clock, interval_s=settings.bmc_interval_s)
        note = (
            "its certificate is not checked (sensors.redfish_insecure_skip_verify)"
            if settings.redfish_insecure_skip_verify
            else ""
        )
        groups.append(BmcGroup(poller, where="Redfish service", is_configured=True, note=note))
    device = settings.ipmi_device or _ipmi_device(roots)
    if device and IPMI_DCMI not in settings.disabled_sources:
        from exporter.sensors.ipmi_dcmi import DcmiProgram

        program = DcmiProgram(device, os.environ)
        poller = BmcPoller(IPMI_DCMI, program.ask, clock, interval_s=settings.bmc_interval_s)
        groups.append(BmcGroup(poller, where=device, is_configured=bool(settings.ipmi_device)))
    return groups


def _ipmi_device(roots: Roots) -> str:
    """Return the device of the first BMC that the kernel lists, or an empty text. Source: ipmi_devintf of Linux."""
    try:
        names = [name for name in list_names(f"{roots.sysfs}/class/ipmi") if re.fullmatch(r"ipmi[0-9]{1,4}", name)]
    except ValueError:  # not a path
        return ""
    return f"/dev/{names[0]}" if names else ""
